/**
 * What the users file keeps of a password for SCRAM-SHA-256: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, in
 * base64. [RFC 5803 section 2]
 */

import { SCRAM_LEAST_ITERATIONS, SCRAM_SHA_256, type ScramCredentials } from './scram.js'

/** Of new verifiers. The client pays for them too, and whoever guesses passwords from a stolen file. */
export const DEFAULT_SCRAM_ITERATIONS = 100_000
/** A client asked for more would spend its keep-alive on them. */
export const SCRAM_MOST_ITERATIONS = 10_000_000
const KEY_BYTES = 32

const FORM = /^SCRAM-SHA-256\$(\d{1,8}):([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]+={0,2}):([A-Za-z0-9+/]+={0,2})$/

export function formatScramCredentials({ iterations, salt, storedKey, serverKey }: ScramCredentials): string {
  const [saltText, storedText, serverText] = [salt, storedKey, serverKey].map((bytes) => bytes.toString('base64'))
  return `${SCRAM_SHA_256}$${iterations}:${saltText}$${storedText}:${serverText}`
}

/** Reads a verifier; a text says what is wrong with it, without repeating it. */
export function parseScramCredentials(text: string): ScramCredentials | string {
  const match = FORM.exec(text)
  if (match === null) return 'expected a SCRAM verifier, SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey in base64'
  const iterations = Number(match[1])
  const [salt, storedKey, serverKey] = [match[2], match[3], match[4]].map((part = '') => Buffer.from(part, 'base64'))
  if (iterations < SCRAM_LEAST_ITERATIONS || iterations > SCRAM_MOST_ITERATIONS) {
    return `SCRAM: expected ${SCRAM_LEAST_ITERATIONS} to ${SCRAM_MOST_ITERATIONS} iterations`
  }
  if (storedKey?.length !== KEY_BYTES || serverKey?.length !== KEY_BYTES || salt === undefined) {
    return `SCRAM: expected StoredKey and ServerKey of ${KEY_BYTES} bytes`
  }
  return { iterations, salt, storedKey, serverKey }
}
