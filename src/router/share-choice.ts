/** The arithmetic of choosing one of several: hashes that are the same on every node and in every version. */

/** FNV-1a over UTF-16 code units, mixed at the end; unsigned, 32 bit. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return mix(hash)
}

/** Another hash of a hash, for a second choice that must not depend on the first; unsigned, 32 bit. */
export function rehash(hash: number): number {
  return mix(hash + 0x9e3779b9)
}

/**
 * One of `count` places for a hash; when a place is added at the end, or the last one goes, only the hashes that have
 * to move do (jump consistent hash, Lamping and Veach 2014).
 * @param count at least 1
 */
export function placeOf(hash: number, count: number): number {
  let state = hash
  let place = 0
  let next = 0
  while (next < count) {
    place = next
    state = rehash(state)
    next = Math.floor((place + 1) / ((state + 1) / 0x1_0000_0000))
  }
  return place
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the result. */
function mix(hash: number): number {
  let mixed = hash | 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
