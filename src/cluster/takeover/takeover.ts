/**
 * Sessions follow their clients from node to node. A move has a giver, where the session is, and a taker, where the
 * client is; every other node has one part in it: the **mark**. Until then messages for the session go to both. A node
 * that has the taker's routes puts a mark into its lane to the giver and into its lane to the taker, in one step: what
 * is before the marks the giver takes, and the taker passes over; what is behind them the other way round. So each
 * message is in the session once, and in order, whatever the lanes' delays: no message carries anything for it. A mark may
 * be late, of a node that is silent or cut off: see `Rest` for the giver and `Aftermath` for the taker.
 * [docs/decisions/010, 029]
 */

import type { Logger } from 'pino'
import type { FetchRequest, SessionFound, SessionMoves, Takeovers } from '../../broker/move-ports.js'
import type { PendingPublish } from '../../broker/ports.js'
import type { Message } from '../../mqtt/wire/message.js'
import type { NodeId } from '../../router/route-table.js'
import type { MetricRegistry } from '../../telemetry/registry.js'
import type { TurnQueue } from '../../util/turn.js'
import type { Adoptions } from '../adoption/adoptions.js'
import type { Addressee } from '../entry-extension.js'
import type { LinkBody, LinkBodyOf, TakeoverMark } from '../wire.js'
import { Aftermaths } from './aftermaths.js'
import { Giver } from './giver.js'
import { Handover } from './handover.js'
import { createTakeoverMetrics } from './metrics.js'
import type { RestModules } from './rest.js'
import { Taker } from './taker.js'
import { WaitingRequests } from './waiting-requests.js'

/** How often it looks whether somebody has waited long enough, in milliseconds. */
const CHECK_INTERVAL_MS = 100
/** How often it looks who is a member still, in milliseconds. */
const MEMBERS_INTERVAL_MS = 1_000
/** A taker whose routes have not come for so long has asked again or is gone, in milliseconds. */
const ROUTES_TIMEOUT_MS = 10_000
/** A taker does not wait for an answer for longer, in milliseconds. */
const REQUEST_TIMEOUT_MS = 2_000

export interface SessionTakeoverModules {
  readonly self: NodeId
  /** To a peer; lost when there is no link. */
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Puts a mark behind what was forwarded to a peer until now; false when there is no such peer. */
  readonly mark: (to: NodeId, mark: TakeoverMark) => void
  readonly peers: () => readonly NodeId[]
  /** All other nodes that are or may come back. */
  readonly members: () => readonly NodeId[]
  /** The same with those that have stopped for now, and have on their disks what others have not got. */
  readonly debtors: () => readonly NodeId[]
  readonly passOn: RestModules['passOn']
  /** Whether a node is down or has left. */
  readonly isGone: (node: NodeId) => boolean
  /** Of this node's own routes. */
  readonly routeVersion: () => number
  /** Of a peer's routes, as far as they are here. */
  readonly routeVersionOf: (peer: NodeId) => number
  readonly turns: Pick<TurnQueue, 'add'>
  readonly sessions: SessionMoves
  /** Whether this node takes sessions that others hand over. */
  readonly isTaking: () => boolean
  /** Nodes to which this one may hand its sessions. */
  readonly takers: () => readonly NodeId[]
  /** See `OwedFirst`. */
  readonly whenPaid: (within: number, done: () => void) => void
  /** Sessions of nodes that are down; undefined where they are not to be had. */
  readonly adoptions?: Adoptions | undefined
  readonly metrics: MetricRegistry
  readonly log: Logger
}

/** A taker has asked for marks, and its routes are not here yet. */
interface WaitingCut {
  readonly taker: NodeId
  readonly cut: LinkBodyOf<'takeoverCut'>['value']
  readonly deadline: number
}

export class SessionTakeover implements Takeovers {
  private readonly giver: Giver
  private readonly taker: Taker
  private readonly handover: Handover
  private readonly aftermaths: Aftermaths
  /** Which life of each node a link was made with last. */
  private readonly lives = new Map<NodeId, number>()
  private checkedMembersAt = 0
  private cuts: WaitingCut[] = []
  private readonly waiting: WaitingRequests
  private timer: NodeJS.Timeout | undefined
  private isStopped = false

  constructor(private readonly modules: SessionTakeoverModules) {
    const { self, sessions, log, peers, routeVersion, turns } = modules
    const send = (to: NodeId, body: LinkBody): void => this.send(to, body)
    const metrics = createTakeoverMetrics(modules.metrics, {
      leaving: () => this.giver.size + this.waiting.length,
      arriving: () => this.taker.size,
      rests: () => this.giver.restCount,
      restWaiting: () => this.giver.restWaiting,
    })
    this.waiting = new WaitingRequests(modules.whenPaid)
    const { isGone, isTaking, takers, debtors, passOn, mark } = modules
    const aftermaths = new Aftermaths({ self, send, log })
    this.aftermaths = aftermaths
    this.giver = new Giver({
      ...{ self, send, isGone, turns, sessions, peers, passOn, mark, metrics, log },
      aftermathOf: (clientId) => aftermaths.of(clientId),
      earlierCuts: (clientId) => aftermaths.earlierCuts(clientId),
    })
    this.handover = new Handover({ send, takers, sessions, isTaking, metrics, log })
    this.taker = new Taker({ self, send, peers, debtors, aftermaths, routeVersion, sessions, metrics, log })
  }

  get mayBeLost(): boolean {
    return this.modules.adoptions?.mayBeLost === true
  }

  get isSure(): boolean {
    return this.modules.adoptions?.isSure ?? true
  }

  get isInDoubt(): boolean {
    return this.modules.adoptions?.isInDoubt === true
  }

  whenSure(until: number, done: (isSure: boolean) => void): void {
    if (this.modules.adoptions === undefined) done(true)
    else this.modules.adoptions.whenSure(until, done)
  }

  /** The directory did not know, or whoever it named does not give the session. */
  doubt(): void {
    this.modules.adoptions?.doubt()
  }

  seek(clientId: string, done: (found: SessionFound, node?: NodeId) => void): void {
    if (this.modules.adoptions === undefined) done('none')
    else this.modules.adoptions.seek(clientId, done)
  }

  whenBack(node: NodeId, until: number, done: (isBack: boolean) => void): void {
    if (this.modules.adoptions === undefined) done(false)
    else this.modules.adoptions.whenBack(node, until, done)
  }

  whenInherited(clientId: string, done: () => void): boolean {
    return this.modules.adoptions?.whenInherited(clientId, done) === true
  }

  start(): void {
    this.modules.adoptions?.start()
    this.timer ??= setInterval(() => {
      const now = performance.now()
      this.taker.checkTime(now)
      this.giver.checkTime(now)
      this.checkMembers(now)
      this.cuts = this.cuts.filter(({ deadline }) => deadline > now)
    }, CHECK_INTERVAL_MS)
  }

  /** Idempotent; what is on its way stays where it is. */
  stop(): void {
    this.isStopped = true
    clearInterval(this.timer)
    this.modules.adoptions?.stop()
    this.handover.stop()
    this.taker.stop()
    this.aftermaths.stop()
    this.giver.stop()
  }

  /** No session is on its way from here to elsewhere, or waits to be. */
  get isIdle(): boolean {
    return this.giver.size === 0 && this.waiting.length === 0
  }

  fetch(request: FetchRequest, done: (isHere: boolean) => void): void {
    if (this.isStopped) return done(false)
    this.taker.fetch(request, (isHere) => {
      if (!isHere) this.doubt()
      done(isHere)
    })
  }

  discard(clientId: string): void {
    this.taker.discard(clientId)
    this.giver.reclaim(clientId)
  }

  reclaim(clientId: string): void {
    this.giver.reclaim(clientId)
  }

  /** See `Handover.run`. */
  handOver(within: number): Promise<number> {
    return this.handover.run(within)
  }

  /** Sessions that are not on their way stay here. */
  endHandover(): void {
    this.handover.stop()
  }

  /** False for what it knows nothing about. */
  receive(from: NodeId, body: LinkBody): boolean {
    if (this.modules.adoptions?.receive(from, body) === true) return true
    switch (body.$case) {
      case 'takeoverRequest':
        this.request(from, body.value)
        return true
      case 'takeoverPiece':
        this.taker.piece(from, body.value)
        return true
      case 'takeoverResume':
        this.giver.resume(from, body.value)
        return true
      case 'takeoverAck':
        this.giver.acknowledged(from, body.value)
        return true
      case 'takeoverCut':
        this.askedForMarks(from, body.value)
        return true
      case 'takeoverMark':
        this.marked(from, body.value)
        return true
      case 'takeoverDone':
        this.giver.done(from, body.value)
        return true
      case 'takeoverEnd':
        if (body.value.fromTaker) this.endedByTaker(from, body.value)
        else this.taker.ended(from, body.value.move)
        return true
      case 'sessionOffer':
        this.handover.offered(from, body.value)
        return true
      case 'sessionDecline':
        this.handover.declined(from)
        return true
      case 'takeoverSettled':
        this.modules.sessions.settle(body.value.clientId, body.value.packetIds, body.value.refused)
        return true
      default:
        return false
    }
  }

  /** A message for one session that has moved here, from the node that it has left. */
  takePassedOn(
    from: NodeId,
    { move, clientId }: Addressee,
    message: Message,
    pending: PendingPublish | undefined,
    isOfThisLife: boolean,
  ): void {
    // The move is forgotten with the life in which it was made, and the session is there again.
    if (!isOfThisLife || move === 0) this.modules.sessions.deliverTo(clientId, message, pending)
    else if (!this.taker.takePassedOn(from, move, message, pending)) this.aftermaths.take(from, move, message, pending)
  }

  /** More of a peer's routes is here. */
  routesTaken(peer: NodeId): void {
    this.modules.adoptions?.routesTaken(peer)
    if (this.cuts.length === 0) return
    const ready = this.cuts.filter((waiting) => waiting.taker === peer && this.hasRoutes(waiting))
    if (ready.length === 0) return
    this.cuts = this.cuts.filter((waiting) => !ready.includes(waiting))
    for (const { taker, cut } of ready) this.mark(taker, cut)
  }

  /** A link to a peer is open, the same that it was before: moves go on. */
  linkUp(node: NodeId, incarnation: number): void {
    this.modules.adoptions?.nodeUp(node, incarnation)
    const before = this.lives.get(node)
    this.lives.set(node, incarnation)
    if (before !== undefined && before !== incarnation) {
      this.giver.nodeBegunAnew(node)
      this.aftermaths.nodeBegunAnew(node)
    }
    // It may have taken the place of another without a moment between: what was said on that one may have come in part.
    this.linkLost(node)
    this.taker.linkUp(node)
    this.aftermaths.linkUp(node)
  }

  /** A link to a peer is lost; the peer may be there still. */
  linkLost(node: NodeId): void {
    this.waiting.forget(node)
    this.taker.linkLost(node)
    this.giver.linkLost(node)
  }

  /** A peer is down, has left or has begun anew. */
  nodeGone(node: NodeId): void {
    this.modules.adoptions?.nodeGone(node)
    this.cuts = this.cuts.filter(({ taker }) => taker !== node)
    this.waiting.forget(node)
    this.handover.nodeGone(node)
    this.taker.nodeGone(node)
    this.aftermaths.nodeGone(node)
    this.giver.nodeGone(node)
  }

  private checkMembers(now: number): void {
    if (now - this.checkedMembersAt < MEMBERS_INTERVAL_MS) return
    this.checkedMembersAt = now
    const members = new Set(this.modules.members())
    const debtors = new Set(this.modules.debtors())
    this.aftermaths.checkTime(now, members, debtors)
    this.giver.checkMembers(members, debtors)
  }

  /** A session that is still on its way here goes on when it has come. */
  private request(from: NodeId, request: LinkBodyOf<'takeoverRequest'>['value'], isPaid = false): void {
    const { clientId, epoch } = request
    if (!this.isSure) {
      // What is here may be another's by now.
      return this.whenSure(performance.now() + REQUEST_TIMEOUT_MS, (isSure) => {
        if (isSure) this.request(from, request)
      })
    }
    if (this.whenInherited(clientId, () => this.request(from, request))) return
    if (this.taker.whenArrived(clientId, epoch, () => this.request(from, request))) return
    // What the client has published here goes first, and what has become of the session meanwhile is looked at again.
    if (isPaid || this.giver.has(from, request.move)) this.giver.request(from, request)
    else this.waiting.add(from, request, () => this.request(from, request, true))
  }

  /** The node that has asked wants it no longer, perhaps before it could have it: then it ends here all the same. */
  private endedByTaker(from: NodeId, end: LinkBodyOf<'takeoverEnd'>['value']): void {
    const request = this.waiting.take(from, end.move)
    if (request !== undefined && end.discard) this.giver.request(from, request)
    this.giver.ended(from, end)
  }

  private askedForMarks(taker: NodeId, cut: LinkBodyOf<'takeoverCut'>['value']): void {
    const waiting = { taker, cut, deadline: performance.now() + ROUTES_TIMEOUT_MS }
    if (cut.giver === this.modules.self) this.giver.asked(taker, cut)
    if (this.hasRoutes(waiting)) this.mark(taker, cut)
    else this.cuts.push(waiting)
  }

  private hasRoutes({ taker, cut }: WaitingCut): boolean {
    return taker === this.modules.self || this.modules.routeVersionOf(taker) >= cut.routeVersion
  }

  /** From here on this node's messages are the taker's: it is told, and so is the giver, in front of the next ones. */
  private mark(taker: NodeId, { move, giver, earlier }: LinkBodyOf<'takeoverCut'>['value']): void {
    this.markOne(taker, giver, move)
    for (const cut of earlier) this.markOne(cut.taker, cut.giver, cut.move)
  }

  private markOne(taker: NodeId, giver: NodeId, move: number): void {
    const { self } = this.modules
    const mark = { move, taker }
    if (giver === self) this.giver.marked(self, taker, move)
    else this.modules.mark(giver, mark)
    if (taker === self) this.taker.marked(self, move)
    else this.modules.mark(taker, mark)
  }

  private marked(from: NodeId, { move, taker, restOf }: TakeoverMark): void {
    if (restOf !== undefined) this.taker.settled(from, move, restOf)
    else if (taker === this.modules.self) this.taker.marked(from, move)
    else this.giver.marked(from, taker, move)
  }

  private send(to: NodeId, body: LinkBody): void {
    if (to === this.modules.self) this.receive(to, body)
    else this.modules.send(to, body)
  }
}
