/**
 * SCRAM-SHA-256 as a method of enhanced authentication: the client proves that it knows the password without sending
 * it, and the server that it knows the user. [RFC 5802] [RFC 7677]
 *
 * ```
 * CONNECT  n,,n=user,r=<client nonce>                →
 *                                                    ←  AUTH 0x18  r=<both nonces>,s=<salt>,i=<iterations>
 * AUTH 0x18  c=biws,r=<both nonces>,p=<proof>        →
 *                                                    ←  CONNACK  v=<server signature>
 * ```
 *
 * There is no channel binding: MQTT's transport is the listener's business. A user that does not exist gets a salt of
 * its own too, always the same, and is refused only at the end, as somebody with a wrong password is.
 */

import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import type { AuthenticationExchange, AuthenticationStep, EnhancedAuthenticator } from '../mqtt/authenticator.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import { saslPrep } from './sasl-prep.js'

export const SCRAM_SHA_256 = 'SCRAM-SHA-256'

/** The least that RFC 7677 allows. */
export const SCRAM_LEAST_ITERATIONS = 4_096

/** Bytes of a SHA-256 digest: of both keys, a proof and a signature. */
const KEY_BYTES = 32
const SALT_BYTES = 16
const NONCE_BYTES = 18
/** A nonce longer than this is no nonce: both are kept until the exchange is over. */
const CLIENT_NONCE_MAXIMUM_LENGTH = 256

/** What the server keeps of a user: neither the password, nor anything to log in with. */
export interface ScramCredentials {
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

export interface ScramOptions {
  /** The credentials of a user; the name is prepared (SASLprep). Undefined when there is no such user. */
  readonly credentials: (username: string) => ScramCredentials | undefined
  /** Makes the salts of users that do not exist. The same on all nodes and for good, or their number shows. */
  readonly saltKey: Buffer
  /** What users who do not exist seem to have; the number that most users have. */
  readonly iterations?: number
  /** Makes the server's part of the nonce; random unless a test knows it beforehand. */
  readonly nonce?: () => string
}

/**
 * What to keep of a user with this password.
 * @param salt random, at least 16 bytes
 * @param iterations at least 4,096; the more, the longer it takes whoever guesses passwords from a stolen file
 * @returns undefined when SASLprep does not allow the password.
 */
export function scramCredentials(password: string, salt: Buffer, iterations: number): ScramCredentials | undefined {
  const prepared = saslPrep(password)
  if (prepared === undefined) return undefined
  const saltedPassword = pbkdf2Sync(prepared, salt, iterations, KEY_BYTES, 'sha256')
  const storedKey = sha256(hmac(saltedPassword, 'Client Key'))
  return { iterations, salt, storedKey, serverKey: hmac(saltedPassword, 'Server Key') }
}

export class ScramSha256 implements EnhancedAuthenticator {
  readonly method = SCRAM_SHA_256

  constructor(private readonly options: ScramOptions) {}

  begin(): AuthenticationExchange {
    return new ScramExchange(this.options)
  }
}

class ScramExchange implements AuthenticationExchange {
  private first: ClientFirst | undefined
  private serverFirst = ''
  private nonce = ''
  private username = ''
  private credentials: ScramCredentials | undefined
  private isKnown = false

  constructor(private readonly options: ScramOptions) {}

  next(data: Buffer | undefined): AuthenticationStep {
    // A client that waits to be asked is asked; the client speaks first in SCRAM.
    if (data === undefined)
      return this.first === undefined ? { continue: undefined } : refuse('no client-final-message')
    return this.first === undefined ? this.challenge(data.toString()) : this.verify(this.first, data.toString())
  }

  private challenge(text: string): AuthenticationStep {
    const first = readClientFirst(text)
    if (typeof first === 'string') return refuse(first)
    const username = saslPrep(first.username)
    if (username === undefined || username === '') return refuse('the user name is not allowed')
    if (first.authorizationIdentity !== '' && saslPrep(first.authorizationIdentity) !== username) {
      return refuse('nobody may act as somebody else')
    }
    this.first = first
    this.username = username
    const known = this.options.credentials(username)
    this.isKnown = known !== undefined
    this.credentials = known ?? this.fakeCredentials(username)
    this.nonce = first.nonce + (this.options.nonce?.() ?? randomBytes(NONCE_BYTES).toString('base64'))
    const { salt, iterations } = this.credentials
    this.serverFirst = `r=${this.nonce},s=${salt.toString('base64')},i=${iterations}`
    return { continue: Buffer.from(this.serverFirst) }
  }

  private verify(first: ClientFirst, text: string): AuthenticationStep {
    const { credentials } = this
    const final = readClientFinal(text)
    if (typeof final === 'string' || credentials === undefined) return refuse(String(final))
    if (!final.channelBinding.equals(Buffer.from(first.header))) return refuse('the channel binding is another one')
    if (final.nonce !== this.nonce) return refuse('the nonce is another one')
    const authMessage = `${first.bare},${this.serverFirst},${final.withoutProof}`
    const clientKey = exclusiveOr(final.proof, hmac(credentials.storedKey, authMessage))
    const isProved = timingSafeEqual(sha256(clientKey), credentials.storedKey)
    // Made up credentials prove nothing, whatever they were compared with.
    if (!isProved || !this.isKnown) return refuse('wrong user name or password')
    const signature = hmac(credentials.serverKey, authMessage).toString('base64')
    return { done: Buffer.from(`v=${signature}`), username: this.username }
  }

  /** Looks like a user's, and the same each time it is asked for. */
  private fakeCredentials(username: string): ScramCredentials {
    const { saltKey, iterations = SCRAM_LEAST_ITERATIONS } = this.options
    const of = (what: string): Buffer => hmac(saltKey, `${what}:${username}`)
    return {
      iterations,
      salt: of('salt').subarray(0, SALT_BYTES),
      storedKey: of('stored key'),
      serverKey: of('server key'),
    }
  }
}

interface ClientFirst {
  /** The GS2 header: channel binding flag and authorization identity, with its commas. */
  readonly header: string
  readonly bare: string
  readonly authorizationIdentity: string
  readonly username: string
  readonly nonce: string
}

interface ClientFinal {
  readonly channelBinding: Buffer
  readonly nonce: string
  readonly proof: Buffer
  readonly withoutProof: string
}

/** Reads a client-first-message; a text says what is wrong with it. [RFC 5802 section 7] */
function readClientFirst(text: string): ClientFirst | string {
  const parts = /^(n|y|p=[^,]*),(?:a=([^,]*))?,((m=)?[^,]*,?.*)$/su.exec(text)
  if (parts === null) return 'not a client-first-message'
  const [, flag = '', identity = '', bare = '', extension] = parts
  // `y`: the client could, and believes that we cannot, which is true.
  if (flag.startsWith('p=')) return 'channel binding is not supported'
  if (extension !== undefined) return 'an extension that is mandatory is not known'
  const fields = /^n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?$/su.exec(bare)
  if (fields === null) return 'not a client-first-message'
  const [, name = '', nonce = ''] = fields
  if (nonce.length > CLIENT_NONCE_MAXIMUM_LENGTH) return `the nonce is over ${CLIENT_NONCE_MAXIMUM_LENGTH} characters`
  const username = readName(name)
  const authorizationIdentity = readName(identity)
  if (username === undefined || authorizationIdentity === undefined) return 'the user name is not well-formed'
  return { header: text.slice(0, text.length - bare.length), bare, authorizationIdentity, username, nonce }
}

/** Reads a client-final-message; a text says what is wrong with it. */
function readClientFinal(text: string): ClientFinal | string {
  const parts = /^(c=([A-Za-z0-9+/]+=*),r=([\x21-\x2b\x2d-\x7e]+)(?:,[^,]*)*),p=([A-Za-z0-9+/]+=*)$/u.exec(text)
  if (parts === null) return 'not a client-final-message'
  const [, withoutProof = '', binding = '', nonce = '', encodedProof = ''] = parts
  const proof = Buffer.from(encodedProof, 'base64')
  if (proof.length !== KEY_BYTES) return 'the proof has the wrong size'
  return { channelBinding: Buffer.from(binding, 'base64'), nonce, proof, withoutProof }
}

/** A saslname: `=2C` stands for a comma and `=3D` for an equals sign. */
function readName(encoded: string): string | undefined {
  if (/=(?!2C|3D)/u.test(encoded)) return undefined
  return encoded.replaceAll('=2C', ',').replaceAll('=3D', '=')
}

function refuse(reason: string): AuthenticationStep {
  return { refuse: ReasonCode.NotAuthorized, reason }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}

function exclusiveOr(one: Buffer, other: Buffer): Buffer {
  return one.map((byte, index) => byte ^ (other[index] ?? 0)) as Buffer
}
