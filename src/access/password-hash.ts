/**
 * Passwords as scrypt hashes in the PHC form: `$scrypt$ln=14,r=8,p=1$<salt>$<hash>`, base64 without padding.
 * https://github.com/P-H-C/phc-string-format
 */

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'

export interface PasswordHash {
  /** log2 of the cost N; each step doubles time and memory. */
  readonly logCost: number
  readonly blockSize: number
  readonly parallelism: number
  readonly salt: Buffer
  readonly hash: Buffer
}

/** log2 of the cost of new hashes: 16 MiB and about 50 ms of one core each. */
export const DEFAULT_LOG_COST = 14
export const LOG_COST_RANGE = [10, 18] as const
const BLOCK_SIZE = 8
const PARALLELISM = 1
const SALT_BYTES = 16
const HASH_BYTES = 32
/** What a hash of a file may ask of the node that checks it: 256 MiB, and 16 times over. */
const HIGHEST_MEMORY_BYTES = 256 * 1024 * 1024
const HIGHEST_PARALLELISM = 16

const PHC = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

/** Hashes a password with a salt of its own, off the main thread. */
export async function hashPassword(password: Uint8Array, logCost = DEFAULT_LOG_COST): Promise<PasswordHash> {
  const parameters = { logCost, blockSize: BLOCK_SIZE, parallelism: PARALLELISM, salt: randomBytes(SALT_BYTES) }
  return { ...parameters, hash: await derive(password, { ...parameters, hash: Buffer.alloc(HASH_BYTES) }) }
}

/** Whether a password is the one that was hashed; takes the same time for yes and for no, off the main thread. */
export async function verifyPassword(password: Uint8Array, expected: PasswordHash): Promise<boolean> {
  return timingSafeEqual(await derive(password, expected), expected.hash)
}

/** A hash that no password has, as dear to check as the given one: for users that do not exist. */
export function dummyHash(like: PasswordHash | undefined): PasswordHash {
  const { logCost, blockSize, parallelism } = like ?? {
    logCost: DEFAULT_LOG_COST,
    blockSize: BLOCK_SIZE,
    parallelism: PARALLELISM,
  }
  return { logCost, blockSize, parallelism, salt: randomBytes(SALT_BYTES), hash: randomBytes(HASH_BYTES) }
}

export function formatPasswordHash({ logCost, blockSize, parallelism, salt, hash }: PasswordHash): string {
  return `$scrypt$ln=${logCost},r=${blockSize},p=${parallelism}$${bare(salt)}$${bare(hash)}`
}

/** Reads the PHC form; a text says what is wrong with it, without repeating it. */
export function parsePasswordHash(text: string): PasswordHash | string {
  const match = PHC.exec(text)
  if (match === null) return 'expected a password hash, $scrypt$ln=..,r=..,p=..$salt$hash, as shoalmq passwd writes it'
  const [logCost, blockSize, parallelism] = [Number(match[1]), Number(match[2]), Number(match[3])] as const
  const salt = Buffer.from(match[4] ?? '', 'base64')
  const hash = Buffer.from(match[5] ?? '', 'base64')
  if (logCost < 1 || blockSize < 1 || parallelism < 1 || parallelism > HIGHEST_PARALLELISM) {
    return `scrypt: expected ln and r of 1 or more, and p from 1 to ${HIGHEST_PARALLELISM}`
  }
  if (memoryOf(logCost, blockSize) > HIGHEST_MEMORY_BYTES) return 'scrypt: ln and r ask for more than 256 MiB'
  if (salt.length < 8 || salt.length > 64) return 'scrypt: expected a salt of 8 to 64 bytes'
  if (hash.length < 16 || hash.length > 64) return 'scrypt: expected a hash of 16 to 64 bytes'
  return { logCost, blockSize, parallelism, salt, hash }
}

function derive(password: Uint8Array, { logCost, blockSize, parallelism, salt, hash }: PasswordHash): Promise<Buffer> {
  const options = {
    N: 2 ** logCost,
    r: blockSize,
    p: parallelism,
    // What OpenSSL counts is the table of N blocks, and one block per lane and in use.
    maxmem: memoryOf(logCost, blockSize) + 128 * blockSize * (parallelism + 2) + 1024,
  }
  return new Promise((resolve, reject) => {
    scrypt(password, salt, hash.length, options, (error, derived) => {
      if (error === null) resolve(derived)
      else reject(error)
    })
  })
}

function memoryOf(logCost: number, blockSize: number): number {
  return 128 * blockSize * 2 ** logCost
}

function bare(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}
