/** Brings links into being: dials and accepts, shakes hands, and joins each heartbeat stream to its link. */

import type { Logger } from 'pino'
import { asError, NodeError } from '../util/errors.js'
import type { ConnectResult } from './dialer.js'
import { acceptHandshake, dialHandshake, type HandshakeOptions, type HandshakeResult } from './handshake.js'
import { Link } from './link.js'
import type { ByteCall, LinkStream } from './link-stream.js'
import type { MeshTls } from './mesh-tls.js'
import type { ClusterMetrics } from './metrics.js'
import { RefusalLog } from './refusals.js'
import { HANDSHAKE_TIMEOUT_MS, type InboundHeartbeat, MeshChannel, MeshServer } from './transport.js'
import { type Beat, decodeBeat, REFUSAL_CODES } from './wire.js'

/** How long a refused node has to read why, before the connection is cut. */
const REFUSED_LINGER_MS = 1_000

export interface MeshModules {
  /** Read at each handshake, since the address is known only once the port is bound. */
  handshake: () => HandshakeOptions
  onLink: (link: Link) => void
  /** Undefined where links are plain. */
  tls: MeshTls | undefined
  metrics: ClusterMetrics
  log: Logger
}

export class Mesh {
  private readonly server: MeshServer
  private readonly refusals: RefusalLog
  /** Links that were dialed from elsewhere, by the token of their heartbeats. */
  private readonly links = new Map<string, Link>()

  constructor(private readonly modules: MeshModules) {
    const { log, metrics } = modules
    this.refusals = new RefusalLog({ log, metrics })
    this.server = new MeshServer({
      log,
      tls: modules.tls,
      onLink: (stream, trust) => void this.accept(stream, trust),
      onHeartbeat: (heartbeat) => this.acceptHeartbeat(heartbeat),
      onStrangerCut: (reason) => {
        metrics.strangersCut[reason].value += 1
      },
    })
  }

  /** host:port as bound. */
  get address(): string {
    return this.server.address
  }

  /** @throws NodeError CLUSTER_PORT_UNAVAILABLE */
  async start(listen: string): Promise<void> {
    await this.modules.tls?.start()
    await this.server.start(listen)
  }

  stop(): Promise<void> {
    this.modules.tls?.stop()
    return this.server.stop()
  }

  /**
   * One attempt to link with whoever is at an address.
   * @param sole see `Hello.sole`
   * @throws Error when nobody answers, or not with a handshake
   */
  async connect(address: string, sole: boolean): Promise<ConnectResult> {
    const channel = new MeshChannel(address, this.modules.tls)
    const stream = channel.openLink()
    const timer = setTimeout(() => {
      stream.destroy(new NodeError('no handshake in time', { code: 'HANDSHAKE_TIMEOUT', address }))
    }, HANDSHAKE_TIMEOUT_MS)
    let result: HandshakeResult
    try {
      result = await dialHandshake(stream, this.modules.handshake(), sole)
    } catch (error) {
      stream.destroy(asError(error))
      this.modules.tls?.reportDialed(address, asError(error))
      throw error
    } finally {
      clearTimeout(timer)
    }
    if (result.kind === 'refused') {
      endAfterRefusal(stream)
      if (result.refusal.code === REFUSAL_CODES.SELF) return { kind: 'self' }
      // A node that stops is no case for an operator.
      if (result.refusal.code === REFUSAL_CODES.STOPPING) return { kind: 'failed' }
      this.refusals.report(result, address)
      return { kind: 'refused' }
    }
    this.modules.tls?.forget(address)
    this.begin(stream, result, 'us', () => channel.openHeartbeat())
    return { kind: 'linked', node: result.peer.node }
  }

  private async accept(stream: LinkStream, trust: () => void): Promise<void> {
    try {
      const result = await acceptHandshake(stream, this.modules.handshake())
      if (result.kind === 'refused') {
        endAfterRefusal(stream)
        const { code } = result.refusal
        if (code !== REFUSAL_CODES.SELF && code !== REFUSAL_CODES.STOPPING) this.refusals.report(result, stream.remote)
        return
      }
      trust()
      this.begin(stream, result, 'peer', undefined)
    } catch (error) {
      // Strangers do as they like: cut, counted where the deadline ends them, and of interest only when one looks.
      this.modules.log.debug({ address: stream.remote, err: asError(error) }, 'handshake broken off')
      stream.destroy(asError(error))
    }
  }

  private begin(
    stream: LinkStream,
    { peer, protocol, token, sole }: Extract<HandshakeResult, { kind: 'linked' }>,
    dialedBy: 'us' | 'peer',
    openHeartbeat: (() => ByteCall) | undefined,
  ): void {
    this.refusals.forget(peer.node)
    const self = this.modules.handshake().identity.node
    const { log } = this.modules
    const link = new Link({ stream, self, peer, dialedBy, protocol, token, sole, openHeartbeat, log })
    if (dialedBy === 'peer') this.expectHeartbeat(link)
    this.modules.onLink(link)
  }

  private expectHeartbeat(link: Link): void {
    for (const [token, { state }] of this.links) if (state === 'closed') this.links.delete(token)
    this.links.set(link.token.toString('hex'), link)
  }

  private acceptHeartbeat({ call, trust, cut }: InboundHeartbeat): void {
    let link: Link | undefined
    call.on('error', (error) => this.modules.log.debug({ err: asError(error) }, 'heartbeat stream failed'))
    call.on('data', (bytes) => {
      if (link !== undefined) return
      const first = this.readFirstBeat(bytes)
      link = first === undefined ? undefined : this.links.get(Buffer.from(first.token).toString('hex'))
      if (link === undefined || first === undefined) {
        this.modules.log.debug({ address: call.getPeer() }, 'heartbeats without a link are refused')
        this.modules.metrics.strangersCut.no_link.value += 1
        cut()
      } else {
        this.links.delete(link.token.toString('hex'))
        trust()
        link.attachHeartbeat(call, first, cut)
      }
    })
  }

  private readFirstBeat(bytes: Buffer): Beat | undefined {
    try {
      return decodeBeat(bytes)
    } catch (error) {
      this.modules.log.debug({ err: asError(error) }, 'first heartbeat is malformed')
      return undefined
    }
  }
}

function endAfterRefusal(stream: LinkStream): void {
  stream.end()
  setTimeout(() => stream.destroy(), REFUSED_LINGER_MS).unref()
}
