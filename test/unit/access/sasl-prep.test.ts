import assert from 'node:assert/strict'
import { test } from 'node:test'
import { saslPrep } from '../../../src/access/sasl-prep.js'

const CASES: readonly (readonly [what: string, text: string, prepared: string | undefined])[] = [
  ['a soft hyphen is mapped to nothing', 'I\u00adX', 'IX'],
  ['no transformation', 'user', 'user'],
  ['case is preserved, and does not match the one before', 'USER', 'USER'],
  ['the output is NFKC, the input in ISO 8859-1', '\u00aa', 'a'],
  ['the output is NFKC, and matches IX', '\u2168', 'IX'],
  ['a control character is prohibited', '\u0007', undefined],
  ['right-to-left text does not end otherwise', '\u0627\u0031', undefined],
  ['right-to-left text with a digit inside', '\u0627\u0031\u0628', '\u0627\u0031\u0628'],
  ['right-to-left text and letters of the other direction', '\u0627a\u0628', undefined],
  ['other spaces become a space', 'a\u00a0b\u3000c', 'a b c'],
  ['private use', '\ue000', undefined],
  ['a lone surrogate', '\ud800', undefined],
  ['a noncharacter', '\uffff', undefined],
  ['the replacement character, as made of bytes that are not UTF-8', '\ufffd', undefined],
  ['a tag character', '\u{e0041}', undefined],
  ['an emoji', '\u{1f600}', '\u{1f600}'],
  ['nothing', '', ''],
]

// The first seven are the examples of RFC 4013 section 3.
for (const [what, text, prepared] of CASES) {
  test(`SASLprep: ${what}`, () => assert.equal(saslPrep(text), prepared))
}
