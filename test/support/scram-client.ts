import assert from 'node:assert/strict'
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'

/** The client's side of SCRAM, written down from RFC 5802 section 3: one message after the other. */
export class ScramClient {
  readonly first: string
  private readonly bare: string
  private serverSignature = ''

  constructor(
    username: string,
    private readonly password: string,
  ) {
    this.bare = `n=${username},r=client+nonce`
    this.first = `n,,${this.bare}`
  }

  final(serverFirst: string): string {
    const fields = new Map(serverFirst.split(',').map((part) => [part.slice(0, 1), part.slice(2)]))
    assert.ok(fields.get('r')?.startsWith('client+nonce'))
    const salt = Buffer.from(fields.get('s') ?? '', 'base64')
    const salted = pbkdf2Sync(this.password, salt, Number(fields.get('i')), 32, 'sha256')
    const clientKey = hmac(salted, 'Client Key')
    const withoutProof = `c=biws,r=${fields.get('r')}`
    const authMessage = `${this.bare},${serverFirst},${withoutProof}`
    const signature = hmac(createHash('sha256').update(clientKey).digest(), authMessage)
    this.serverSignature = hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')
    const proof = clientKey.map((byte, index) => byte ^ (signature[index] ?? 0))
    return `${withoutProof},p=${Buffer.from(proof).toString('base64')}`
  }

  /** The server is the one that knows the user. */
  verify(serverFinal: string): void {
    assert.equal(serverFinal, `v=${this.serverSignature}`)
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
