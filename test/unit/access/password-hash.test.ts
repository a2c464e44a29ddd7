import assert from 'node:assert/strict'
import { scryptSync } from 'node:crypto'
import { test } from 'node:test'
import {
  DEFAULT_LOG_COST,
  dummyHash,
  formatPasswordHash,
  hashPassword,
  parsePasswordHash,
  verifyPassword,
} from '../../../src/access/password-hash.js'

test('the right password is verified, and no other', async () => {
  const hash = await hashPassword(Buffer.from('correct horse'), 10)
  assert.equal(await verifyPassword(Buffer.from('correct horse'), hash), true)
  for (const wrong of ['correct hors', 'correct horse ', '', 'Correct horse']) {
    assert.equal(await verifyPassword(Buffer.from(wrong), hash), false, wrong)
  }
})

test('two hashes of one password have nothing in common', async () => {
  const [one, other] = await Promise.all([hashPassword(Buffer.from('x'), 10), hashPassword(Buffer.from('x'), 10)])
  assert.notDeepEqual(one.salt, other.salt)
  assert.notDeepEqual(one.hash, other.hash)
})

test('the form is read as it was written, and is that of PHC', async () => {
  const hash = await hashPassword(Buffer.from('x'), 11)
  const text = formatPasswordHash(hash)
  assert.match(text, /^\$scrypt\$ln=11,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  assert.deepEqual(parsePasswordHash(text), hash)
})

test('a hash that another implementation made is verified', async () => {
  const salt = Buffer.from('a salt of theirs')
  const hash = scryptSync('pleaseletmein', salt, 64, { N: 2 ** 12, r: 4, p: 3 })
  const bare = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '')
  const parsed = parsePasswordHash(`$scrypt$ln=12,r=4,p=3$${bare(salt)}$${bare(hash)}`)
  assert.ok(typeof parsed !== 'string', String(parsed))
  assert.equal(await verifyPassword(Buffer.from('pleaseletmein'), parsed), true)
  assert.equal(await verifyPassword(Buffer.from('pleaseletmein2'), parsed), false)
})

test('a hash at the edge of what is accepted can be checked', async () => {
  const salt = Buffer.alloc(8, 1).toString('base64').replaceAll('=', '')
  const hash = Buffer.alloc(16, 1).toString('base64').replaceAll('=', '')
  const parsed = parsePasswordHash(`$scrypt$ln=13,r=1,p=16$${salt}$${hash}`)
  assert.ok(typeof parsed !== 'string', String(parsed))
  assert.equal(await verifyPassword(Buffer.from('x'), parsed), false)
})

const SALT = 'c2FsdHNhbHRzYWx0c2FsdA'
const HASH = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
const WRONG: readonly (readonly [text: string, expected: RegExp])[] = [
  ['', /expected a password hash/],
  ['plain', /expected a password hash/],
  [`$argon2id$v=19$m=1,t=1,p=1$${SALT}$${HASH}`, /expected a password hash/],
  [`$scrypt$ln=14,r=8$${SALT}$${HASH}`, /expected a password hash/],
  [`$scrypt$ln=14,r=8,p=1$${SALT}`, /expected a password hash/],
  [`$scrypt$ln=0,r=8,p=1$${SALT}$${HASH}`, /ln and r of 1 or more/],
  [`$scrypt$ln=14,r=8,p=17$${SALT}$${HASH}`, /p from 1 to 16/],
  [`$scrypt$ln=19,r=8,p=1$${SALT}$${HASH}`, /more than 256 MiB/],
  [`$scrypt$ln=99,r=8,p=1$${SALT}$${HASH}`, /more than 256 MiB/],
  [`$scrypt$ln=14,r=8,p=1$AAAA$${HASH}`, /salt of 8 to 64 bytes/],
  [`$scrypt$ln=14,r=8,p=1$${SALT}$AAAA`, /hash of 16 to 64 bytes/],
]

for (const [text, expected] of WRONG) {
  test(`${text === '' ? 'nothing' : text} is no password hash`, () => {
    const parsed = parsePasswordHash(text)
    assert.ok(typeof parsed === 'string')
    assert.match(parsed, expected)
  })
}

test('the hash of a user that does not exist costs what the others cost', async () => {
  const hash = await hashPassword(Buffer.from('x'), 12)
  const { logCost, blockSize, parallelism, salt, hash: digest } = dummyHash(hash)
  assert.deepEqual([logCost, blockSize, parallelism], [hash.logCost, hash.blockSize, hash.parallelism])
  assert.deepEqual([salt.length, digest.length], [hash.salt.length, hash.hash.length])
  assert.equal(dummyHash(undefined).logCost, DEFAULT_LOG_COST)
})
