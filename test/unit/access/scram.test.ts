import assert from 'node:assert/strict'
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { describe, it } from 'node:test'
import { type ScramCredentials, ScramSha256, scramCredentials } from '../../../src/access/scram.js'
import type { AuthenticationExchange, AuthenticationStep } from '../../../src/mqtt/authenticator.js'

/** The example of RFC 7677 section 3. */
const RFC = {
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverNonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
}

const PENCIL = credentialsOf('pencil', Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'))
const USERS = new Map([
  ['user', PENCIL],
  ['a,b=c', PENCIL],
])

function credentialsOf(password: string, salt: Buffer): ScramCredentials {
  const credentials = scramCredentials(password, salt, 4_096)
  assert.ok(credentials !== undefined)
  return credentials
}

function begin(nonce = RFC.serverNonce, saltKey = 'key of the cluster'): AuthenticationExchange {
  const credentials = (username: string): ScramCredentials | undefined => USERS.get(username)
  return new ScramSha256({ credentials, saltKey: Buffer.from(saltKey), nonce: () => nonce }).begin()
}

/** One step, as text: `continue …`, `done … username`, `refuse code`. */
async function step(exchange: AuthenticationExchange, text: string | undefined): Promise<string> {
  const answer: AuthenticationStep = await exchange.next(text === undefined ? undefined : Buffer.from(text))
  if ('continue' in answer) return `continue ${answer.continue ?? ''}`
  if ('done' in answer) return `done ${answer.done} ${answer.username}`
  return `refuse ${answer.refuse}`
}

/** A client's own computation, written down from RFC 5802 section 3. */
function finalMessage(password: string, header: string, bare: string, serverFirst: string): string {
  const fields = new Map(serverFirst.split(',').map((part) => [part.slice(0, 1), part.slice(2)]))
  const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
  const salt = Buffer.from(fields.get('s') ?? '', 'base64')
  const salted = pbkdf2Sync(password, salt, Number(fields.get('i')), 32, 'sha256')
  const clientKey = hmac(salted, 'Client Key')
  const withoutProof = `c=${Buffer.from(header).toString('base64')},r=${fields.get('r')}`
  const storedKey = createHash('sha256').update(clientKey).digest()
  const signature = hmac(storedKey, `${bare},${serverFirst},${withoutProof}`)
  const proof = clientKey.map((byte, index) => byte ^ (signature[index] ?? 0))
  return `${withoutProof},p=${Buffer.from(proof).toString('base64')}`
}

async function logIn(name: string, password: string, header = 'n,,'): Promise<string> {
  const exchange = begin()
  const bare = `n=${name},r=abc`
  const first = await step(exchange, header + bare)
  if (!first.startsWith('continue ')) return first
  return step(exchange, finalMessage(password, header, bare, first.slice('continue '.length)))
}

describe('SCRAM-SHA-256', () => {
  it('is the exchange of RFC 7677 to the letter', async () => {
    const exchange = begin()
    assert.equal(await step(exchange, RFC.clientFirst), `continue ${RFC.serverFirst}`)
    assert.equal(await step(exchange, RFC.clientFinal), `done ${RFC.serverFinal} user`)
  })

  it('asks a client that waits to be asked', async () => {
    const exchange = begin()
    assert.equal(await step(exchange, undefined), 'continue ')
    assert.equal(await step(exchange, RFC.clientFirst), `continue ${RFC.serverFirst}`)
    assert.equal(await step(exchange, undefined), 'refuse 135')
  })

  it('knows names with commas and equals signs, and prepares names', async () => {
    assert.match(await logIn('a=2Cb=3Dc', 'pencil'), /^done v=.* a,b=c$/)
    assert.match(await logIn('us\u00ader', 'pencil'), /^done v=.* user$/)
    for (const name of ['a=2cb', 'a=', '=3', '', '\u0007']) assert.equal(await logIn(name, 'pencil'), 'refuse 135')
  })

  it('takes n and y, a client that acts as itself, and refuses channel binding and acting as others', async () => {
    for (const header of ['n,,', 'y,,', 'n,a=user,']) assert.match(await logIn('user', 'pencil', header), /^done /)
    for (const header of ['p=tls-unique,,', 'n,a=root,', 'x,,', '', 'n,', 'n,,m=must,']) {
      assert.equal(await logIn('user', 'pencil', header), 'refuse 135', header)
    }
  })

  it('refuses a wrong password and a user that does not exist at the same step', async () => {
    assert.equal(await logIn('user', 'pencils'), 'refuse 135')
    assert.equal(await logIn('nobody', 'pencil'), 'refuse 135')
  })

  it('gives a user that does not exist a salt of its own, the same each time and on all nodes', async () => {
    const saltOf = async (name: string, key?: string): Promise<string> => {
      const answer = await step(begin('x', key), `n,,n=${name},r=abc`)
      const salt = /^continue r=abcx,s=([^,]+),i=4096$/.exec(answer)?.[1] ?? ''
      assert.equal(Buffer.from(salt, 'base64').length, 16, answer)
      return salt
    }
    assert.equal(await saltOf('nobody'), await saltOf('nobody'))
    const salts = [
      await saltOf('nobody'),
      await saltOf('no one'),
      await saltOf('user'),
      await saltOf('nobody', 'other'),
    ]
    assert.equal(new Set(salts).size, 4)
  })

  it('refuses an answer to another nonce, channel binding or exchange, and one that is cut short', async () => {
    const finals = {
      'another nonce': RFC.clientFinal.replace('rOprNGfwEbeRWgbNEkqO%', 'rOprNGfwEbeRWgbNEkqO!'),
      'the nonce of the client alone': RFC.clientFinal.replace(RFC.serverNonce, ''),
      'channel binding of y': RFC.clientFinal.replace('c=biws', 'c=eSws'),
      'a proof of another size': RFC.clientFinal.replace('dHzb', ''),
      'no proof': RFC.clientFinal.replace(/,p=.*/, ''),
      'something behind the proof': `${RFC.clientFinal},x=1`,
      'another proof': RFC.clientFinal.replace('dHzb', 'dHzc'),
      'another extension': RFC.clientFinal.replace(',p=', ',x=1,p='),
      nothing: '',
    }
    for (const [what, final] of Object.entries(finals)) {
      const exchange = begin()
      await step(exchange, RFC.clientFirst)
      assert.equal(await step(exchange, final), 'refuse 135', what)
    }
  })

  it('makes a nonce of its own for each exchange', async () => {
    const authenticator = new ScramSha256({ credentials: (name) => USERS.get(name), saltKey: Buffer.alloc(32) })
    const nonces = new Set<string>()
    for (let count = 0; count < 3; count += 1) nonces.add(await step(authenticator.begin(), RFC.clientFirst))
    assert.equal(nonces.size, 3)
    for (const nonce of nonces) assert.match(nonce, /^continue r=rOprNGfwEbeRWgbNEkqO[A-Za-z0-9+/]{24},s=/)
  })

  it('refuses a nonce that is too long, and reads 64 KiB of anything in no time', async () => {
    const inputs = [`n,,n=user,r=${'x'.repeat(257)}`, 'n,,'.repeat(21_000), `n,,n=${'=2C'.repeat(21_000)}`]
    const started = performance.now()
    for (const input of inputs) assert.equal(await step(begin(), input), 'refuse 135')
    const exchange = begin()
    await step(exchange, RFC.clientFirst)
    assert.equal(await step(exchange, `c=biws,r=${'x,'.repeat(32_000)}`), 'refuse 135')
    assert.ok(performance.now() - started < 1_000)
  })

  it('has no credentials for a password that SASLprep does not allow', () => {
    assert.equal(scramCredentials('\u0007', Buffer.alloc(16), 4_096), undefined)
  })
})
