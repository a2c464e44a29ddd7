/** FNV-1a over UTF-16 code units, 32 bits. Part of the link protocol, where digests of keys are made of it. */

const PRIME = 0x01000193

/** Where FNV-1a begins; another seed makes another hash. */
export const FNV_SEED = 0x811c9dc5

export function hashText(text: string, seed: number): number {
  let hash = seed
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), PRIME)
  return hash >>> 0
}

/** The same of a text that lies in bytes, `[start, end)`: a byte, or two, for each code unit. */
export function hashBytes(bytes: Buffer, start: number, end: number, isWide: boolean, seed: number): number {
  let hash = seed
  if (isWide) for (let at = start; at < end; at += 2) hash = Math.imul(hash ^ bytes.readUInt16LE(at), PRIME)
  else for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] as number), PRIME)
  return hash >>> 0
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the result. */
export function mix(hash: number): number {
  let mixed = hash
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
