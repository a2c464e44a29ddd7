/** The directory's half on the node where clients are: what it has claimed and waits for, and what it holds. */

import type { NodeId } from '../../router/route-table.js'
import type { LinkBody, LinkBodyOf } from '../wire.js'
import type { ClientRing } from './client-ring.js'
import { nextEpoch } from './epoch.js'
import type { DirectoryMetrics } from './metrics.js'

/** How long a ring node may take to answer before this node decides alone, in milliseconds. */
const CLAIM_TIMEOUT_MS = 1_500
/** Holdings that are announced in one message. */
const HOLDINGS_PER_MESSAGE = 500
const REQUEST_MODULUS = 0x1_0000_0000

/** Gets the epoch, or undefined when the client ID has come to another node meanwhile. */
export type ClaimCallback = (epoch: number | undefined) => void

interface PendingClaim {
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
}

export interface ClaimsModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  readonly ring: () => ClientRing
  /** Closes the connection of a client that is held here; with `discard` its session ends too. */
  readonly evict: (clientId: string, discard: boolean) => void
  readonly metrics: DirectoryMetrics
}

export class Claims {
  /** By request, in the order of their deadlines. */
  private readonly pending = new Map<number, PendingClaim>()
  private readonly held = new Map<string, Holding>()
  private lastRequest = 0

  constructor(private readonly modules: ClaimsModules) {}

  /** Clients that are held here. */
  get size(): number {
    return this.held.size
  }

  /** Claims without an answer yet. */
  get pendingCount(): number {
    return this.pending.size
  }

  /** `done` is called once, perhaps at once. */
  claim(clientId: string, discard: boolean, done: ClaimCallback): void {
    const request = this.nextRequest()
    const ringNode = this.modules.ring().nodeOf(clientId)
    const deadline = performance.now() + CLAIM_TIMEOUT_MS
    this.pending.set(request, { clientId, discard, done, deadline, ringNode })
    this.ask(ringNode, request, clientId, discard)
  }

  release(clientId: string, epoch: number): void {
    const holding = this.held.get(clientId)
    // The client has come again meanwhile, or went to another node.
    if (holding === undefined || holding.epoch !== epoch) return
    this.held.delete(clientId)
    this.modules.send(holding.ringNode, { $case: 'directoryRelease', value: { clientId, epoch } })
  }

  answered({ request, epoch, superseded }: LinkBodyOf<'directoryAnswer'>['value']): void {
    const claim = this.pending.get(request)
    // It has been decided without this answer.
    if (claim === undefined) return
    this.pending.delete(request)
    if (superseded) {
      this.modules.metrics.claims.superseded.value++
      claim.done(undefined)
    } else {
      this.modules.metrics.claims.granted.value++
      this.hold(claim, epoch, false)
    }
  }

  evicted(from: NodeId, { clientId, epoch, discard }: LinkBodyOf<'directoryEviction'>['value']): void {
    const holding = this.held.get(clientId)
    if (holding !== undefined && holding.epoch < epoch) {
      this.held.delete(clientId)
      this.modules.metrics.evictions.value++
      this.modules.evict(clientId, discard)
    }
    this.modules.send(from, { $case: 'directoryEvicted', value: { clientId, epoch } })
  }

  /** Claims that were put to a node that is gone are put to its successor. */
  ringChanged(): void {
    const ring = this.modules.ring()
    for (const [request, claim] of this.pending) {
      if (ring.has(claim.ringNode)) continue
      claim.ringNode = ring.nodeOf(claim.clientId)
      this.ask(claim.ringNode, request, claim.clientId, claim.discard)
    }
  }

  /**
   * Tells ring nodes, one step at a time, of the clients here that they are to know of and do not.
   * @param forgetful nodes that were not there for a while: they are told again
   */
  *announce(forgetful: ReadonlySet<NodeId>): Generator<void> {
    const lists = new Map<NodeId, { clientId: string; epoch: number }[]>()
    for (const [clientId, holding] of this.held) {
      const ringNode = this.modules.ring().nodeOf(clientId)
      if (ringNode !== holding.ringNode || forgetful.has(ringNode)) {
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
  }

  /** Decides alone where the ring node does not answer: nobody's CONNECT waits for long. */
  checkTime(now: number): void {
    for (const [request, claim] of this.pending) {
      if (claim.deadline > now) return
      this.pending.delete(request)
      this.modules.metrics.claims.timed_out.value++
      this.hold(claim, nextEpoch(this.held.get(claim.clientId)?.epoch ?? 0), true)
    }
  }

  /** Nobody is asked any more: whoever waits goes on. */
  stop(): void {
    for (const [request, claim] of this.pending) {
      this.pending.delete(request)
      claim.done(nextEpoch(0))
    }
  }

  /** @param isAlone whether the epoch is this node's own, and the ring node is still to hear of it */
  private hold({ clientId, ringNode: asked, done }: PendingClaim, epoch: number, isAlone: boolean): void {
    const ringNode = this.modules.ring().nodeOf(clientId)
    this.held.set(clientId, { epoch, ringNode })
    // Told before the client is let in, a ring node that knows of a higher epoch would find nobody to close.
    done(epoch)
    if (this.held.get(clientId)?.epoch !== epoch) return
    // The ring has changed since the claim, and what this node holds was announced to the new one before that.
    if (ringNode !== asked) this.modules.send(asked, { $case: 'directoryRelease', value: { clientId, epoch } })
    if (ringNode !== asked || isAlone) this.tell(ringNode, [{ clientId, epoch }])
  }

  private ask(ringNode: NodeId, request: number, clientId: string, discard: boolean): void {
    this.modules.send(ringNode, { $case: 'directoryClaim', value: { request, clientId, discard } })
  }

  private tell(ringNode: NodeId, holdings: { clientId: string; epoch: number }[]): void {
    this.modules.send(ringNode, { $case: 'directoryHoldings', value: { holdings } })
  }

  private nextRequest(): number {
    do this.lastRequest = (this.lastRequest + 1) % REQUEST_MODULUS
    while (this.pending.has(this.lastRequest))
    return this.lastRequest
  }
}
