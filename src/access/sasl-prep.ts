/**
 * SASLprep: the one form of a user name or password in which two spellings of the same text are equal. [RFC 4013]
 *
 * Where this is more lenient than the RFC: code points that Unicode 3.2 did not have yet are taken as they are, and of
 * the left-to-right characters only letters are told apart from right-to-left text.
 */

/** Tables B.1 of RFC 3454: commonly mapped to nothing. */
const NOTHING = /\u034f|[\u180b-\u180d]|[\ufe00-\ufe0f]|[\u00ad\u1806\u200b-\u200d\u2060\ufeff]/gu
/** Table C.1.2: spaces that become U+0020. */
const SPACES = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/gu
/** Tables C.2.1, C.2.2 and C.3 to C.9: what must not be there in the end. */
const PROHIBITED =
  /[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u06dd\u070f\u180e\u2028\u2029\u2061-\u2063\u206a-\u206f\ufff9-\ufffd\u{1d173}-\u{1d17a}\u2ff0-\u2ffb\u200e\u200f\u202a-\u202e\u{e0001}\u{e0020}-\u{e007f}]|\u0340|\u0341/u
/** Table D.1: right-to-left characters. */
const RIGHT_TO_LEFT =
  /[\u05be\u05c0\u05c3\u05d0-\u05ea\u05f0-\u05f4\u061b\u061f\u0621-\u063a\u0640-\u064a\u066d-\u066f\u0671-\u06d5\u06e5\u06e6\u06fa-\u06fe\u0700-\u070d\u0710\u0712-\u072c\u0780-\u07a5\u07b1\ufb1d\ufb1f-\ufb28\ufb2a-\ufb36\ufb38-\ufb3c\ufb3e\ufb40\ufb41\ufb43\ufb44\ufb46-\ufbb1\ufbd3-\ufd3d\ufd50-\ufd8f\ufd92-\ufdc7\ufdf0-\ufdfc\ufe70-\ufe74\ufe76-\ufefc]/u
const LETTER = /\p{L}/u

/** The prepared text, or undefined when the text is not allowed. The empty text is as it is. */
export function saslPrep(text: string): string | undefined {
  const prepared = text.replace(NOTHING, '').replace(SPACES, ' ').normalize('NFKC')
  if (PROHIBITED.test(prepared)) return undefined
  return isOneDirection(prepared) ? prepared : undefined
}

/** Right-to-left text begins and ends with such characters and holds none of the other direction. [RFC 3454 section 6] */
function isOneDirection(text: string): boolean {
  if (!RIGHT_TO_LEFT.test(text)) return true
  const characters = [...text]
  const hasOther = characters.some((character) => LETTER.test(character) && !RIGHT_TO_LEFT.test(character))
  return !hasOther && RIGHT_TO_LEFT.test(characters[0] ?? '') && RIGHT_TO_LEFT.test(characters.at(-1) ?? '')
}
