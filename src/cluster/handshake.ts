/**
 * Who may link: the first four messages of a link. Both sides prove that they know the shared secret by an HMAC over
 * both nonces and both identities; the secret itself is never sent, and no proof is good for another handshake.
 */

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { AddressError, parseHostPort, parseNodeName } from '../config/addresses.js'
import { NodeError } from '../util/errors.js'
import type { LinkStream } from './link-stream.js'
import {
  asBuffer,
  type Challenge,
  type Hello,
  type Identity,
  type LinkBody,
  type LinkBodyOf,
  REFUSAL_CODES,
  type RefusalCodeValue,
} from './wire.js'

const NONCE_BYTES = 32
const TOKEN_BYTES = 16

/** Why two nodes do not link. */
export interface Refusal {
  code: RefusalCodeValue
  /** For the log of both sides; nothing that a stranger could use. */
  detail: string
}

/** What a node brings to a handshake. */
export interface HandshakeOptions {
  identity: Identity
  /** Newest and oldest protocol version that this node speaks. */
  protocol: number
  minimumProtocol: number
  /** '' when the cluster has none; then everyone who reaches the port is a member. */
  secret: string
  /** Asked once the other side has proved itself: is this node welcome now? */
  admit: (identity: Identity) => Refusal | undefined
}

export type HandshakeResult =
  | { kind: 'linked'; peer: Identity; protocol: number; token: Buffer; sole: boolean }
  /** `by` says which side refused. `peer` is what the other side claimed to be, proved or not. */
  | { kind: 'refused'; by: 'us' | 'peer'; refusal: Refusal; peer: Identity | undefined }

/** What one side said of itself. */
interface Side {
  protocol: number
  minimumProtocol: number
  identity: Identity
  nonce: Uint8Array
}

/**
 * The side that dialed.
 * @param sole true after the peer said that another link exists while this side has none
 * @throws NodeError LINK_CLOSED when the stream ends first
 */
export async function dialHandshake(
  stream: LinkStream,
  options: HandshakeOptions,
  sole: boolean,
): Promise<HandshakeResult> {
  const own = introduce(options)
  stream.send({ $case: 'hello', value: { ...own, sole } })
  const challenge = await receive(stream, 'challenge')
  if (challenge.$case === 'refused') return refusedByPeer(challenge, undefined)
  const peer = readSide(challenge.value)
  const mismatch = peer === undefined ? UNREADABLE : incompatibility(options, peer)
  if (peer === undefined || mismatch !== undefined) return refuse(stream, mismatch ?? UNREADABLE, peer?.identity)

  stream.send({ $case: 'proof', value: { mac: prove(options.secret, 'dialer', own, peer) } })
  const accepted = await receive(stream, 'accepted')
  if (accepted.$case === 'refused') return refusedByPeer(accepted, peer.identity)
  if (!isEqual(accepted.value.mac, prove(options.secret, 'acceptor', own, peer))) {
    return refuse(stream, WRONG_SECRET, peer.identity)
  }
  const unwelcome = options.admit(peer.identity)
  if (unwelcome !== undefined) return refuse(stream, unwelcome, peer.identity)
  const token = Buffer.from(accepted.value.token)
  return { kind: 'linked', peer: peer.identity, protocol: agreed(options, peer), token, sole }
}

/**
 * The side that was dialed. It tells who it is only to a node of the same protocol and cluster name, and who else it
 * knows to nobody before the proof.
 * @throws NodeError LINK_CLOSED when the stream ends first
 */
export async function acceptHandshake(stream: LinkStream, options: HandshakeOptions): Promise<HandshakeResult> {
  const hello = await receive(stream, 'hello')
  if (hello.$case === 'refused') return refusedByPeer(hello, undefined)
  const peer = readSide(hello.value)
  const mismatch = peer === undefined ? UNREADABLE : incompatibility(options, peer)
  if (peer === undefined || mismatch !== undefined) return refuse(stream, mismatch ?? UNREADABLE, peer?.identity)

  const own = introduce(options)
  stream.send({ $case: 'challenge', value: own })
  const proof = await receive(stream, 'proof')
  if (proof.$case === 'refused') return refusedByPeer(proof, peer.identity)
  if (!isEqual(proof.value.mac, prove(options.secret, 'dialer', peer, own))) {
    return refuse(stream, WRONG_SECRET, peer.identity)
  }
  const unwelcome = options.admit(peer.identity)
  if (unwelcome !== undefined) return refuse(stream, unwelcome, peer.identity)
  const token = randomBytes(TOKEN_BYTES)
  stream.send({ $case: 'accepted', value: { mac: prove(options.secret, 'acceptor', peer, own), token } })
  return { kind: 'linked', peer: peer.identity, protocol: agreed(options, peer), token, sole: hello.value.sole }
}

const WRONG_SECRET: Refusal = { code: REFUSAL_CODES.SECRET, detail: 'the cluster secrets of the two nodes differ' }
const UNREADABLE: Refusal = { code: REFUSAL_CODES.PROTOCOL_ERROR, detail: 'the identity is not a valid one' }

/**
 * HMAC-SHA256 with the secret as key over the role, then of the dialer and then of the acceptor: nonce, cluster, node,
 * incarnation, address, software, protocol, minimum protocol. Each field is preceded by its length in four bytes.
 */
export function prove(secret: string, role: 'dialer' | 'acceptor', dialer: Side, acceptor: Side): Buffer {
  const hmac = createHmac('sha256', secret)
  const add = (field: string | Uint8Array | number): void => {
    const bytes = typeof field === 'object' ? field : Buffer.from(String(field))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    hmac.update(length).update(bytes)
  }
  add(role)
  for (const { nonce, identity, protocol, minimumProtocol } of [dialer, acceptor]) {
    add(nonce)
    add(identity.cluster)
    add(identity.node)
    add(identity.incarnation)
    add(identity.address)
    add(identity.software)
    add(protocol)
    add(minimumProtocol)
  }
  return hmac.digest()
}

function introduce({ identity, protocol, minimumProtocol }: HandshakeOptions): Side {
  return { protocol, minimumProtocol, identity, nonce: randomBytes(NONCE_BYTES) }
}

/** Undefined unless every field is one that a node of ours could have sent. */
function readSide({ protocol, minimumProtocol, identity, nonce }: Hello | Challenge): Side | undefined {
  if (identity === undefined || nonce.length !== NONCE_BYTES || identity.cluster.length > 64) return undefined
  if (identity.node.length > 320 || parseNodeName(identity.node) === undefined || identity.software.length > 64)
    return undefined
  if (!Number.isSafeInteger(identity.incarnation) || identity.incarnation < 1) return undefined
  return isAddress(identity.address) ? { protocol, minimumProtocol, identity, nonce } : undefined
}

/** True for a `host:port` that can be dialed. */
export function isAddress(text: string): boolean {
  try {
    return parseHostPort(text).port !== 0
  } catch (error) {
    if (error instanceof AddressError) return false
    throw error
  }
}

function incompatibility(own: HandshakeOptions, peer: Side): Refusal | undefined {
  if (peer.protocol < own.minimumProtocol || peer.minimumProtocol > own.protocol) {
    const range = (of: { protocol: number; minimumProtocol: number }) => `${of.minimumProtocol} to ${of.protocol}`
    return {
      code: REFUSAL_CODES.PROTOCOL_VERSION,
      detail: `no protocol version in common: ${range(peer)} offered, ${range(own)} accepted`,
    }
  }
  const { cluster, node, incarnation } = peer.identity
  if (cluster !== own.identity.cluster) {
    return { code: REFUSAL_CODES.CLUSTER_NAME, detail: 'the cluster names of the two nodes differ' }
  }
  if (node === own.identity.node && incarnation === own.identity.incarnation) {
    return { code: REFUSAL_CODES.SELF, detail: 'the address is that of the node itself' }
  }
  return undefined
}

function agreed(own: HandshakeOptions, peer: Side): number {
  return Math.min(own.protocol, peer.protocol)
}

function isEqual(received: Uint8Array, expected: Buffer): boolean {
  return received.length === expected.length && timingSafeEqual(asBuffer(received), expected)
}

function refuse(stream: LinkStream, refusal: Refusal, peer: Identity | undefined): HandshakeResult {
  stream.send({ $case: 'refused', value: refusal })
  return { kind: 'refused', by: 'us', refusal, peer }
}

function refusedByPeer({ value }: LinkBodyOf<'refused'>, peer: Identity | undefined): HandshakeResult {
  const detail = value.detail.slice(0, MAXIMUM_DETAIL_LENGTH)
  return { kind: 'refused', by: 'peer', refusal: { code: value.code, detail }, peer }
}

/** What is logged of a text that a stranger may have sent. */
const MAXIMUM_DETAIL_LENGTH = 200

/** @throws NodeError HANDSHAKE_OUT_OF_ORDER when something else comes than the step that is due or a refusal */
async function receive<Name extends LinkBody['$case']>(
  stream: LinkStream,
  step: Name,
): Promise<LinkBodyOf<Name> | LinkBodyOf<'refused'>> {
  const body = await stream.receive()
  if (body?.$case === step || body?.$case === 'refused') return body as LinkBodyOf<Name> | LinkBodyOf<'refused'>
  throw new NodeError('a handshake step is out of order', {
    code: 'HANDSHAKE_OUT_OF_ORDER',
    expected: step,
    received: body?.$case ?? 'unknown',
  })
}
