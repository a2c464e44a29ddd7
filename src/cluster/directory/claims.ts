/** The directory's half on the node where clients are: what it has claimed and waits for, and what it holds. */

import type { ClaimTerms } from '../../broker/ports.js'
import type { NodeId } from '../../router/route-table.js'
import type { LinkBody, LinkBodyOf } from '../wire.js'
import type { ClientRing } from './client-ring.js'
import { nextEpoch } from './epoch.js'
import type { DirectoryMetrics } from './metrics.js'

/**
 * How long a ring node may take to answer before this node decides alone, in milliseconds. One that is silent is suspected
 * before that with the defaults, and then the next on the ring is asked.
 */
const CLAIM_TIMEOUT_MS = 3_200
/** Holdings that are announced in one message. */
const HOLDINGS_PER_MESSAGE = 500
const REQUEST_MODULUS = 0x1_0000_0000

/** How long a session that may move waits to be asked for before the ring node is reminded of it, in milliseconds. */
const RESERVATION_MS = 10_000
/** The same after a move that has failed: the taker's end may not have been noticed everywhere. */
const RETURN_MS = 2_000

/** Gets the epoch, or undefined when the client ID has come to another node meanwhile; and who else has a session of it. */
export type ClaimCallback = (epoch: number | undefined, holder: NodeId | undefined) => void

interface Terms extends ClaimTerms {
  /** See `DirectoryClaim.tentative`. */
  readonly isTentative?: boolean
}

interface PendingClaim extends Terms {
  readonly clientId: string
  readonly discard: boolean
  readonly done: ClaimCallback
  readonly deadline: number
  ringNode: NodeId
}

interface Holding {
  epoch: number
  /** Who has been told. */
  ringNode: NodeId
  /** No session is here yet: nobody is told of it but who was asked. */
  isTentative: boolean
}

/** A client has gone to another node, and its session waits here to follow. */
interface Reservation {
  /** Of the connection on the other node. */
  epoch: number
  deadline: number
}

export interface ClaimsModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  readonly ring: () => ClientRing
  /** See `DirectorySink.evict`. */
  readonly evict: (clientId: string, discard: boolean, isOutdated: boolean) => boolean
  /** Whether that ring node knows claims without a client, and such as come again; an older one would take them for new ones. */
  readonly knowsOffers: (ringNode: NodeId) => boolean
  /** It was decided without the ring node. */
  readonly onAlone: () => void
  readonly mayBeLost: () => boolean
  /** Its session is on its way to another node. */
  readonly isLeaving: (clientId: string) => boolean
  readonly metrics: DirectoryMetrics
  /** The session that was here has ended, since its client had to begin anew at another node. */
  readonly onOutdated: (clientId: string) => void
}

export class Claims {
  /** By request. */
  private readonly pending = new Map<number, PendingClaim>()
  private readonly held = new Map<string, Holding>()
  /** Of what is held, by client ID. */
  private readonly reserved = new Map<string, Reservation>()
  /** Claims of a life before may still be on their way. */
  private lastRequest = Math.floor(Math.random() * REQUEST_MODULUS)

  constructor(private readonly modules: ClaimsModules) {}

  /** Clients that are held here. */
  get size(): number {
    return this.held.size
  }

  /** Claims without an answer yet. */
  get pendingCount(): number {
    return this.pending.size
  }

  /**
   * `done` is called once, perhaps at once.
   */
  claim(clientId: string, discard: boolean, done: ClaimCallback, terms: Terms = {}): void {
    const request = this.nextRequest()
    const ringNode = this.modules.ring().nodeOf(clientId)
    const deadline = Math.min(performance.now() + CLAIM_TIMEOUT_MS, terms.until ?? Number.POSITIVE_INFINITY)
    const claim = { ...terms, clientId, discard, done, deadline, ringNode }
    this.pending.set(request, claim)
    this.ask(request, claim)
  }

  release(clientId: string, epoch: number): void {
    const holding = this.held.get(clientId)
    // The client has come again meanwhile, or went to another node.
    if (holding === undefined || holding.epoch !== epoch) return
    this.held.delete(clientId)
    this.reserved.delete(clientId)
    this.modules.send(holding.ringNode, { $case: 'directoryRelease', value: { clientId, epoch } })
  }

  /** See `Directory.settle`. */
  settle(clientId: string, epoch: number): void {
    const holding = this.held.get(clientId)
    if (holding?.isTentative !== true || holding.epoch !== epoch) return
    holding.isTentative = false
    holding.ringNode = this.modules.ring().nodeOf(clientId)
    this.tell(holding.ringNode, [{ clientId, epoch }])
  }

  /** A session that was to move stays here: the ring node is told soon, if nobody has come for it until then. */
  keep(clientId: string): void {
    const reservation = this.reserved.get(clientId)
    if (reservation === undefined) return
    reservation.epoch = 0
    reservation.deadline = performance.now() + RETURN_MS
  }

  /** A session from an earlier life of this node: ring nodes that know of a later one of its client say so. */
  restore(clientId: string, epoch: number): void {
    const ringNode = this.modules.ring().nodeOf(clientId)
    this.held.set(clientId, { epoch, ringNode, isTentative: false })
    this.tell(ringNode, [{ clientId, epoch }])
  }

  answered({ request, epoch, superseded, holder }: LinkBodyOf<'directoryAnswer'>['value']): void {
    const claim = this.pending.get(request)
    // It has been decided without this answer.
    if (claim === undefined) return
    this.pending.delete(request)
    if (superseded) {
      this.modules.metrics.claims.superseded.value++
      claim.done(undefined, undefined)
    } else {
      this.modules.metrics.claims.granted.value++
      this.hold(claim, epoch, false, holder === '' ? undefined : holder)
    }
  }

  evicted(from: NodeId, { clientId, epoch, discard, outdated }: LinkBodyOf<'directoryEviction'>['value']): void {
    const holding = this.held.get(clientId)
    let hasSession = false
    if (holding !== undefined && holding.epoch < epoch) {
      const reservation = this.reserved.get(clientId)
      // Old news: what is to go is on its way to the client already.
      if (discard && reservation !== undefined && reservation.epoch >= epoch) hasSession = true
      else if (outdated === true && this.modules.isLeaving(clientId)) {
        // It is fetched for the client; should it stay, the ring node is told of it once more.
        this.reserved.set(clientId, { epoch, deadline: performance.now() + RESERVATION_MS })
        hasSession = true
      } else {
        if (outdated === true) this.modules.onOutdated(clientId)
        hasSession = this.leave(clientId, epoch, discard, outdated === true)
      }
    }
    this.modules.send(from, { $case: 'directoryEvicted', value: { clientId, epoch, session: hasSession } })
  }

  /**
   * Claims that were put to a node that is gone are put to its successor.
   * @param stray requests that this node itself has not looked at, and that are another one's to decide
   */
  ringChanged(stray: readonly number[]): void {
    const ring = this.modules.ring()
    for (const [request, claim] of this.pending) {
      if (ring.has(claim.ringNode) && !stray.includes(request)) continue
      claim.ringNode = ring.nodeOf(claim.clientId)
      this.ask(request, claim)
    }
  }

  /** The link to a ring node is new: what it was asked last, or its answer, may have been lost with the one before. */
  linkReplaced(node: NodeId): void {
    if (!this.modules.knowsOffers(node)) return
    for (const [request, claim] of this.pending) if (claim.ringNode === node) this.ask(request, claim)
  }

  /**
   * Tells ring nodes, one step at a time, of the clients here that they are to know of and do not.
   * @param forgetful nodes that were not there for a while: they are told again
   */
  *announce(forgetful: ReadonlySet<NodeId>): Generator<void> {
    const ring = this.modules.ring()
    const lists = new Map<NodeId, { clientId: string; epoch: number }[]>()
    for (const [clientId, holding] of this.held) {
      const ringNode = this.modules.ring().nodeOf(clientId)
      if (!holding.isTentative && (ringNode !== holding.ringNode || forgetful.has(ringNode))) {
        holding.ringNode = ringNode
        const list = lists.get(ringNode) ?? []
        lists.set(ringNode, list)
        list.push({ clientId, epoch: holding.epoch })
        if (list.length === HOLDINGS_PER_MESSAGE) {
          lists.delete(ringNode)
          this.tell(ringNode, list)
        }
      }
      yield
    }
    for (const [ringNode, list] of lists) this.tell(ringNode, list)
    // It has changed meanwhile: who is told of that ring is told of all for it.
    if (ring !== this.modules.ring()) return
    for (const ringNode of ring.nodes) this.tell(ringNode, [], ring.nodes)
  }

  /** Decides alone where the ring node does not answer: nobody's CONNECT waits for long. */
  checkTime(now: number): void {
    this.checkReservations(now)
    for (const [request, claim] of this.pending) {
      if (claim.deadline > now) continue
      this.pending.delete(request)
      this.modules.metrics.claims.timed_out.value++
      if (claim.inheritedEpoch !== undefined) this.claimAgain(claim)
      else if (claim.onlyFrom !== undefined) claim.done(undefined, undefined)
      else {
        this.modules.onAlone()
        this.hold(claim, nextEpoch(this.held.get(claim.clientId)?.epoch ?? 0), true, undefined)
      }
    }
  }

  /** Of a session that is inherited: nobody waits for it, and without an answer it is not another's. */
  private claimAgain({ clientId, discard, done, onlyFrom, inheritedEpoch }: PendingClaim): void {
    this.claim(clientId, discard, done, { onlyFrom, inheritedEpoch })
  }

  /** Nobody is asked any more: whoever waits goes on. */
  stop(): void {
    for (const [request, claim] of this.pending) {
      this.pending.delete(request)
      claim.done(claim.onlyFrom === undefined ? nextEpoch(0) : undefined, undefined)
    }
  }

  /** @param isAlone whether the epoch is this node's own, and the ring node is still to hear of it */
  private hold(claim: PendingClaim, epoch: number, isAlone: boolean, holder: NodeId | undefined): void {
    const { clientId, ringNode: asked, done } = claim
    const ringNode = this.modules.ring().nodeOf(clientId)
    const isTentative = claim.isTentative === true || (isAlone && !claim.discard && this.modules.mayBeLost())
    this.held.set(clientId, { epoch, ringNode, isTentative })
    this.reserved.delete(clientId)
    // Told before the client is let in, a ring node that knows of a higher epoch would find nobody to close.
    done(epoch, holder)
    const holding = this.held.get(clientId)
    if (holding?.epoch !== epoch) return
    // The ring has changed since the claim, and what this node holds was announced to the new one before that.
    if (ringNode !== asked) this.modules.send(asked, { $case: 'directoryRelease', value: { clientId, epoch } })
    if ((ringNode !== asked || isAlone) && !holding.isTentative) this.tell(ringNode, [{ clientId, epoch }])
  }

  private leave(clientId: string, epoch: number, discard: boolean, isOutdated = false): boolean {
    this.modules.metrics.evictions.value++
    const hasSession = this.modules.evict(clientId, discard, isOutdated)
    // Only now: what the end of a connection releases is still held until then.
    if (hasSession) this.reserved.set(clientId, { epoch, deadline: performance.now() + RESERVATION_MS })
    else {
      this.held.delete(clientId)
      this.reserved.delete(clientId)
    }
    return hasSession
  }

  /** Nobody came for these sessions, or the move has failed: the ring node says whose they are. */
  private checkReservations(now: number): void {
    for (const [clientId, reservation] of this.reserved) {
      if (reservation.deadline > now) continue
      if (this.modules.isLeaving(clientId)) {
        reservation.deadline = now + RESERVATION_MS
        continue
      }
      this.reserved.delete(clientId)
      const holding = this.held.get(clientId)
      if (holding !== undefined) this.tell(holding.ringNode, [{ clientId, epoch: holding.epoch }])
    }
  }

  private ask(request: number, claim: PendingClaim): void {
    const { ringNode, clientId, discard, onlyFrom, inheritedEpoch, isTentative, done } = claim
    if (onlyFrom !== undefined && !this.modules.knowsOffers(ringNode)) {
      this.pending.delete(request)
      return done(undefined, undefined)
    }
    const value = {
      ...{ request, clientId, discard },
      ...(onlyFrom === undefined ? {} : { onlyFrom }),
      ...(inheritedEpoch === undefined ? {} : { inheritedEpoch }),
      ...(isTentative === true ? { tentative: true } : {}),
    }
    this.modules.send(ringNode, { $case: 'directoryClaim', value })
  }

  private tell(ringNode: NodeId, holdings: { clientId: string; epoch: number }[], ring: string[] = []): void {
    this.modules.send(ringNode, { $case: 'directoryHoldings', value: { holdings, ring } })
  }

  private nextRequest(): number {
    do this.lastRequest = (this.lastRequest + 1) % REQUEST_MODULUS
    while (this.pending.has(this.lastRequest))
    return this.lastRequest
  }
}
