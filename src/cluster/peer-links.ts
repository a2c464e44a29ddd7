/**
 * The links to one peer: the one in use, and for a moment one that takes its place.
 *
 * When both nodes dial, two links may exist: the one dialed by the node with the smaller name is kept. The other is ended by a
 * Farewell from each side, and only then the kept one is opened, so nothing is lost or overtaken.
 */

import type { Logger } from 'pino'
import type { NodeId } from '../router/route-table.js'
import { asError, NodeError } from '../util/errors.js'
import type { Exchange } from './exchange.js'
import { assertSpoken, type FEATURES, speaks } from './features.js'
import { Flapping } from './flapping.js'
import type { BeatStatus, HeardBeat } from './heartbeat.js'
import type { Link, LinkOwner } from './link.js'
import type { PeerCounters } from './metrics.js'
import { FAREWELL_REASONS, type FarewellReasonValue, type LinkBody, type Member, type Open } from './wire.js'

/** The peer: what it hears of the link in use. */
export interface LinksListener {
  /** Both sides have opened it. */
  linkUp(link: Link, open: Open): void
  /** A sign of life, before what it says is looked at. */
  hear(): void
  /**
   * @param departs it is no member any more
   * @param isOwing its disk has what others have not got, for its next life to send
   */
  farewellHeard(departs: boolean, isOwing: boolean): void
  /** The link is gone and none takes its place. */
  linkLost(error: Error | undefined): void
  /** @param isFirst of its stream */
  beatHeard(link: Link, beat: HeardBeat, isFirst: boolean): void
}

export interface PeerLinksModules {
  /** Of the peer. */
  readonly name: NodeId
  readonly listener: LinksListener
  /** With the peer as it lives now. */
  readonly exchange: () => Exchange
  readonly onMembers: (members: readonly Member[]) => void
  /** This process has stood still, and may have been taken for dead. */
  readonly isInDoubt: () => boolean
  readonly counters: PeerCounters
  readonly log: Logger
}

export class PeerLinks implements LinkOwner {
  readonly flapping = new Flapping()
  private used: Link | undefined
  /** Chosen to take the place of `used` once that has ended. */
  private next: Link | undefined
  private wasReplaced = false

  constructor(private readonly modules: PeerLinksModules) {}

  /** The link in use: up, being opened or being replaced; undefined without one. */
  get current(): Link | undefined {
    return this.used
  }

  /** True while one is in use: no other is needed. */
  get isLinked(): boolean {
    return this.used !== undefined
  }

  /** True while what is sent goes out now. */
  get isUp(): boolean {
    return this.used?.state === 'up'
  }

  /** The peer said that another link exists, and there is none. */
  get isDenied(): boolean {
    return this.wasReplaced && this.used === undefined
  }

  /** Whether the link in use is of a version that knows this. */
  speaks(feature: keyof typeof FEATURES): boolean {
    return this.used !== undefined && speaks(this.used.protocol, feature)
  }

  /** A handshake has succeeded: opens the link, keeps it for later, or ends it. */
  take(link: Link): void {
    const inUse = this.used
    if (inUse === undefined || inUse.state === 'closed') {
      this.open(link)
    } else if (!prefers(link, this.next ?? inUse)) {
      link.farewell(this, FAREWELL_REASONS.REPLACED)
    } else {
      const passedOver = this.next
      this.next = link
      passedOver?.farewell(this, FAREWELL_REASONS.REPLACED)
      inUse.farewell(this, FAREWELL_REASONS.REPLACED)
    }
  }

  /** Lost when no link is up. */
  send(body: LinkBody): void {
    if (this.used?.state === 'up') this.used.send(body)
  }

  beat(status: BeatStatus): void {
    this.used?.beat(status)
  }

  /** Tells the peer that this node stops, or that it is no member any more. @param isOwing see `LinksListener.farewellHeard` */
  sayFarewell(isMember: boolean, isOwing: boolean): void {
    this.closeNext()
    this.modules.exchange().runTurn()
    const link = this.used
    if (link === undefined) return
    const departs = !isMember && speaks(link.protocol, 'departure')
    link.farewell(this, departs ? FAREWELL_REASONS.DEPARTED : FAREWELL_REASONS.LEAVING, isOwing)
  }

  /** Ends the one that would take the place of the link in use. */
  closeNext(): void {
    this.next?.close(undefined)
    this.next = undefined
  }

  /** Ends the one in use at once. */
  close(): void {
    this.used?.close(undefined)
  }

  /** Ends all at once, and hears no more of them: they belong to a process that is no more. */
  disown(): void {
    const { used, next } = this
    this.used = undefined
    this.next = undefined
    used?.close(undefined)
    next?.close(undefined)
  }

  /**
   * Looks at the data connection. One that is stuck is given up for a new one, as soon as that may be dialed.
   * @param now of `performance.now`
   * @param nextLook milliseconds until the next look
   */
  checkData(now: number, nextLook: number): void {
    const link = this.used
    if (link?.lookAtData(now, 2 * nextLook) !== true || this.flapping.pause(now) > 0) return
    const { counters, log, name } = this.modules
    counters.linksStuck += 1
    log.warn({ peer: name, incarnation: link.peer.incarnation }, 'link is stuck, dialing anew')
    link.close(new NodeError('data stands still while heartbeats come', { code: 'LINK_STUCK' }))
  }

  onLinkUp(link: Link, open: Open): void {
    if (link !== this.used) return
    this.wasReplaced = false
    this.modules.counters.linksOpened += 1
    this.flapping.note(performance.now())
    this.modules.listener.linkUp(link, open)
  }

  onLinkHeard(link: Link, open: Open): void {
    if (link === this.used) this.modules.exchange().listen(link, open)
  }

  onLinkMessage(link: Link, body: LinkBody): void {
    if (link !== this.used) return
    const { listener, counters, log, name } = this.modules
    // What has come while this process stood still may be for sessions that are another's by now: it comes again on the next link.
    if (this.modules.isInDoubt()) return link.close(new NodeError('this node has stood still', { code: 'STOOD_STILL' }))
    listener.hear()
    try {
      assertSpoken(link.protocol, body)
      if (body.$case === 'members') this.modules.onMembers(body.value.members)
      else this.modules.exchange().receive(body)
    } catch (error) {
      counters.protocolErrors += 1
      log.error({ peer: name, err: asError(error) }, 'link broken off after a message it should not carry')
      link.close(asError(error))
    }
  }

  onLinkDrain(link: Link): void {
    if (link === this.used) this.modules.exchange().runTurn()
  }

  onLinkFarewell(link: Link, reason: FarewellReasonValue, isOwing: boolean): void {
    if (link !== this.used) return
    const departs = reason === FAREWELL_REASONS.DEPARTED
    if (departs && !speaks(link.protocol, 'departure')) this.modules.counters.protocolErrors += 1
    if (departs || reason === FAREWELL_REASONS.LEAVING) this.modules.listener.farewellHeard(departs, isOwing)
    else this.wasReplaced = true
  }

  onLinkClosed(link: Link, error: Error | undefined): void {
    if (link === this.next) this.next = undefined
    if (link !== this.used) return
    this.used = undefined
    this.modules.exchange().suspend()
    const { next } = this
    this.next = undefined
    if (next?.state === 'waiting') this.open(next)
    else this.modules.listener.linkLost(error)
  }

  onLinkBeat(link: Link, beat: HeardBeat, isFirst: boolean): void {
    if (link === this.used) this.modules.listener.beatHeard(link, beat, isFirst)
  }

  private open(link: Link): void {
    this.used = link
    link.open(this, this.modules.exchange().introduce())
  }
}

/** True when a new link takes the place of the one in use (or about to be). Both nodes come to the same answer. */
function prefers(link: Link, inUse: Link): boolean {
  if (inUse.state === 'closing' || inUse.state === 'closed' || link.sole) return true
  // A node that dials again has lost what it had, even if this side has not noticed yet.
  if (link.dialer === inUse.dialer) return true
  return link.dialer < inUse.dialer
}
