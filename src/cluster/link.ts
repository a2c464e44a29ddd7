/**
 * One link to one peer, after its handshake: the data stream, and the heartbeat stream on a connection beside it.
 *
 * States: `waiting` (not chosen yet; another link may be in use) → `opening` (we said Open) → `up` (the peer said it
 * too) → `closing` (we said Farewell, and go on reading until the peer has) → `closed`. Any state may go to `closed`.
 */

import type { Logger } from 'pino'
import type { NodeId } from '../router/route-table.js'
import { NodeError } from '../util/errors.js'
import { DataFlow } from './data-flow.js'
import { type BeatStatus, type HeardBeat, Heartbeat, type HeartbeatListener } from './heartbeat.js'
import type { ByteCall, LinkStream, LinkStreamListener } from './link-stream.js'
import {
  type Beat,
  FAREWELL_REASONS,
  type FarewellReasonValue,
  type Identity,
  type LinkBody,
  type Open,
  refusalName,
} from './wire.js'

export type LinkStateName = 'waiting' | 'opening' | 'up' | 'closing' | 'closed'

/** The peer, as its links see it. */
export interface LinkOwner {
  /** Both sides have said Open: this is what the peer has and can send. */
  onLinkUp(link: Link, open: Open): void
  /** The peer has said Open on a link that this side has passed over meanwhile: what it sends is still heard. */
  onLinkHeard(link: Link, open: Open): void
  onLinkMessage(link: Link, body: LinkBody): void
  onLinkDrain(link: Link): void
  /** The peer says nothing more on this link. @param isOwing its disk has what others have not got */
  onLinkFarewell(link: Link, reason: FarewellReasonValue, isOwing: boolean): void
  onLinkClosed(link: Link, error: Error | undefined): void
  /** A sign of life with the peer's state. */
  onLinkBeat(link: Link, beat: HeardBeat, isFirst: boolean): void
}

/** How long the peer may take to say Open: it has just proved that it is there. */
const OPENING_TIMEOUT_MS = 5_000

/** How long a side that said Farewell waits for the other's. */
const FAREWELL_TIMEOUT_MS = 1_000

export interface LinkParts {
  stream: LinkStream
  self: NodeId
  peer: Identity
  dialedBy: 'us' | 'peer'
  /** Protocol version that both speak. */
  protocol: number
  /** Proves that a heartbeat stream belongs to this link. */
  token: Buffer
  /** The dialer had been told that another link exists and had none. */
  sole: boolean
  /** Opens the heartbeat stream; only on the side that dialed. */
  openHeartbeat: (() => ByteCall) | undefined
  log: Logger
}

export class Link implements LinkStreamListener, HeartbeatListener {
  readonly peer: Identity
  readonly dialedBy: 'us' | 'peer'
  readonly protocol: number
  readonly token: Buffer
  readonly sole: boolean
  private readonly parts: LinkParts
  private readonly stream: LinkStream
  private readonly flow: DataFlow
  private current: LinkStateName = 'waiting'
  private owner: LinkOwner | undefined
  private heartbeat: Heartbeat | undefined
  private heardFarewell = false
  private hasOpened = false
  private isFlowing = false
  private farewellTimer: NodeJS.Timeout | undefined
  private openingTimer: NodeJS.Timeout | undefined

  constructor(parts: LinkParts) {
    this.parts = parts
    this.stream = parts.stream
    this.flow = new DataFlow(parts.stream)
    this.peer = parts.peer
    this.dialedBy = parts.dialedBy
    this.protocol = parts.protocol
    this.token = parts.token
    this.sole = parts.sole
  }

  get state(): LinkStateName {
    return this.stream.isClosed ? 'closed' : this.current
  }

  /** Name of the node that dialed it. */
  get dialer(): NodeId {
    return this.dialedBy === 'us' ? this.parts.self : this.peer.node
  }

  /** True when data may be written now. */
  get isWritable(): boolean {
    return this.current === 'up' && this.stream.isWritable
  }

  /** Heartbeat round trip in milliseconds; undefined until measured. */
  get rtt(): number | undefined {
    return this.heartbeat?.rtt
  }

  /**
   * Looks at the data connection, a few times a second.
   * @param now of `performance.now`
   * @param longest milliseconds between two looks that count
   * @returns true when it is stuck: beats come, and the data that they tell of does not
   */
  lookAtData(now: number, longest: number): boolean {
    this.flow.look(now, longest)
    return this.current === 'up' && this.flow.isStuck
  }

  /** The link is chosen: tells the peer what this side has. */
  open(owner: LinkOwner, open: Open): void {
    this.owner = owner
    this.moveTo('opening')
    this.stream.send({ $case: 'open', value: open })
    this.openingTimer = setTimeout(() => {
      if (this.current !== 'opening') return
      this.close(new NodeError('the peer does not open the link', { code: 'LINK_NOT_OPENED' }))
    }, OPENING_TIMEOUT_MS)
    if (this.parts.openHeartbeat !== undefined) {
      this.heartbeat = new Heartbeat(this.parts.openHeartbeat(), this, this.token)
    }
    this.beginFlow()
  }

  /**
   * The peer that dialed opened the heartbeat stream.
   * @param first the beat that carried the token
   * @param terminate cuts the connection that carries the stream
   */
  attachHeartbeat(call: ByteCall, first: Beat, terminate: () => void): void {
    this.heartbeat?.close()
    this.heartbeat = new Heartbeat(call, this, undefined, terminate)
    this.heartbeat.receive(first)
  }

  beat(status: BeatStatus): void {
    this.heartbeat?.send(status, this.flow.report())
  }

  send(body: LinkBody): void {
    this.stream.send(body)
  }

  /** Says the last word on this link, listens to the peer's, and closes. @param isOwing the disk here has what others have not got */
  farewell(owner: LinkOwner, reason: FarewellReasonValue, isOwing = false): void {
    if (this.state === 'closing' || this.state === 'closed') return
    this.owner = owner
    this.stream.send({ $case: 'farewell', value: { reason, owing: isOwing } })
    this.moveTo('closing')
    this.farewellTimer = setTimeout(() => this.close(undefined), FAREWELL_TIMEOUT_MS)
    this.beginFlow()
    this.endIfDone()
  }

  /** Ends at once. */
  close(error: Error | undefined): void {
    this.stream.destroy(error)
    // A link that was never opened has nobody to tell, but the same to clean up.
    if (!this.isFlowing) this.onClosed(error)
  }

  onMessage(body: LinkBody): void {
    switch (body.$case) {
      case 'open':
        // Passed over when the peer had it open already: what it has sent is heard to its end.
        if (this.current === 'closing' && !this.hasOpened) this.owner?.onLinkHeard(this, body.value)
        this.hasOpened = true
        if (this.current !== 'opening') return
        clearTimeout(this.openingTimer)
        this.moveTo('up')
        this.owner?.onLinkUp(this, body.value)
        return
      case 'farewell':
        this.heardFarewell = true
        this.owner?.onLinkFarewell(this, body.value.reason, body.value.owing)
        if (this.owner !== undefined) this.farewell(this.owner, FAREWELL_REASONS.REPLACED)
        this.endIfDone()
        return
      case 'refused':
        this.close(
          new NodeError('the peer refused after the handshake', {
            code: 'LINK_REFUSED',
            reason: refusalName(body.value.code),
          }),
        )
        return
      default:
        if (this.current === 'up' || this.current === 'closing') this.owner?.onLinkMessage(this, body)
    }
  }

  onDrain(): void {
    this.owner?.onLinkDrain(this)
  }

  onClosed(error: Error | undefined): void {
    if (this.current === 'closed') return
    clearTimeout(this.farewellTimer)
    clearTimeout(this.openingTimer)
    this.heartbeat?.close()
    this.moveTo('closed')
    this.owner?.onLinkClosed(this, error)
  }

  onBeat(beat: HeardBeat, isFirst: boolean): void {
    this.flow.hear(beat.flow, this.heartbeat?.lowestRtt ?? 0)
    this.owner?.onLinkBeat(this, beat, isFirst)
  }

  onHeartbeatClosed(error: Error | undefined): void {
    // The two connections take one way: when the one breaks, the other will, and without beats nobody knows when.
    if (this.current !== 'closing') this.close(error ?? new NodeError('heartbeats ended', { code: 'HEARTBEAT_ENDED' }))
  }

  private beginFlow(): void {
    if (this.isFlowing) return
    this.isFlowing = true
    this.stream.flow(this)
  }

  private endIfDone(): void {
    // The side that dialed ends first; what it wrote last has then arrived before the connection goes.
    if (this.current === 'closing' && this.heardFarewell && this.dialedBy === 'us') this.stream.end()
  }

  private moveTo(next: LinkStateName): void {
    this.parts.log.debug({ peer: this.peer.node, from: this.current, to: next, dialer: this.dialer }, 'link state')
    this.current = next
  }
}
