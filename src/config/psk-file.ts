/** Pre-shared keys of TLS: lines of `identity:key`, as Mosquitto's `psk_file` has them. */

/** Bytes of an identity that every implementation takes. [RFC 4279 section 5.3] */
const MAXIMUM_IDENTITY_BYTES = 128
/** Shorter keys can be guessed: an observer of one handshake may try them all. */
const MINIMUM_KEY_BYTES = 16
/** Bytes of a key that every implementation takes. [RFC 4279 section 5.3] */
const MAXIMUM_KEY_BYTES = 64

/** What is wrong with a line. Never quotes it: it may hold a key. */
export interface PskProblem {
  /** From 1. */
  line: number
  message: string
}

export interface PskReading {
  keys: Map<string, Buffer>
  problems: PskProblem[]
}

/** Reads the content of a file of pre-shared keys. The identity ends at the last colon of its line. */
export function parsePskFile(text: string): PskReading {
  const reading: PskReading = { keys: new Map(), problems: [] }
  for (const [index, written] of text.split(/\r?\n/).entries()) {
    if (written.trim() === '' || written.startsWith('#')) continue
    const colon = written.lastIndexOf(':')
    const identity = written.slice(0, Math.max(0, colon))
    const key = written.slice(colon + 1).trim()
    const message = colon < 0 ? 'expected identity:key' : lineProblem(identity, key, reading.keys)
    if (message === undefined) reading.keys.set(identity, Buffer.from(key, 'hex'))
    else reading.problems.push({ line: index + 1, message })
  }
  return reading
}

function lineProblem(identity: string, key: string, known: ReadonlyMap<string, Buffer>): string | undefined {
  if (identity === '') return 'the identity is empty'
  if (Buffer.byteLength(identity) > MAXIMUM_IDENTITY_BYTES) {
    return `the identity is longer than ${MAXIMUM_IDENTITY_BYTES} bytes`
  }
  if (known.has(identity)) return 'the identity stands on an earlier line'
  if (!/^([0-9a-f]{2})*$/i.test(key)) return 'the key is not in hexadecimal, two digits for each byte'
  const bytes = key.length / 2
  if (bytes < MINIMUM_KEY_BYTES || bytes > MAXIMUM_KEY_BYTES) {
    return `the key has ${bytes} bytes, expected ${MINIMUM_KEY_BYTES} to ${MAXIMUM_KEY_BYTES}`
  }
  return undefined
}
