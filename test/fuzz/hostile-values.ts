/** Values that have broken brokers before: the names of things that objects have, and bytes that are not strings. */

/** Names that an object has without being asked, and so must mean nothing as a client ID, topic or property. */
export const INHERITED_NAMES = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf']

export const HOSTILE_TEXTS: readonly Buffer[] = [
  ...INHERITED_NAMES.map((name) => Buffer.from(name)),
  Buffer.alloc(0),
  Buffer.from('\0'),
  Buffer.from('a\0b'),
  Buffer.from('#'),
  Buffer.from('+'),
  Buffer.from('/'),
  Buffer.from('a/#/b'),
  Buffer.from('a+'),
  Buffer.from('$share'),
  Buffer.from('$share/'),
  Buffer.from('$share/g'),
  Buffer.from('$share//a'),
  Buffer.from('$share/+/a'),
  Buffer.from('$share/__proto__/constructor'),
  Buffer.from('$queue/'),
  Buffer.from('$SYS/#'),
  Buffer.from('/'.repeat(200)),
  Buffer.from('+/'.repeat(127)),
  Buffer.alloc(65_535, 0x61),
  // Not UTF-8: a lone continuation byte, an overlong slash, a surrogate, beyond U+10FFFF, cut short.
  Buffer.from([0x80]),
  Buffer.from([0xc0, 0xaf]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.from([0xf4, 0x90, 0x80, 0x80]),
  Buffer.from([0x61, 0xe2, 0x82]),
  // UTF-8 that is unusual: a byte order mark, a non-character, a control character, four bytes.
  Buffer.from([0xef, 0xbb, 0xbf, 0x61]),
  Buffer.from([0xef, 0xbf, 0xbf]),
  Buffer.from([0x01, 0x1f, 0x7f]),
  Buffer.from('𝄞/🐟'),
]

/** Values at which one, two and four byte integers turn over. */
export const EDGES: readonly number[] = [
  ...[0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x3fff, 0x4000, 0x7fff, 0x8000, 0xffff],
  ...[0x1f_ffff, 0x20_0000, 0xfff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff],
]

/** Remaining Lengths that are not encoded as the protocol says: five bytes, never ending, longer than need be. */
export const BAD_VARIABLE_INTEGERS: readonly Buffer[] = [
  Buffer.from([0x80, 0x80, 0x80, 0x80, 0x01]),
  Buffer.from([0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
  Buffer.from([0x80, 0x00]),
  Buffer.from([0x82, 0x80, 0x00]),
  Buffer.from([0xff, 0xff, 0xff, 0x7f]),
  Buffer.from([0x80]),
]
