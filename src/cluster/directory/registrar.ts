/**
 * The ring node's half of the directory: who holds a client ID, and the order of those who want it.
 *
 *   claim ──nobody else holds it──────────────────────────────► answer: epoch
 *     └────another node does──► eviction ──evicted, or not in time──► answer: epoch, and who has a session
 *                                  └──a further claim comes──► answer: superseded
 *
 * Nothing here asks a majority, and nothing waits long: a holder that does not answer is told again when it is back.
 */

import type { NodeId } from '../../router/route-table.js'
import type { LinkBody, LinkBodyOf } from '../wire.js'
import type { ClientRing } from './client-ring.js'
import { nextEpoch } from './epoch.js'

/** How long a claim may wait here, in milliseconds: about as long as its node waits for the answer before it decides alone. */
const EARLY_MS = 3_000
/** How long a claim waits for the connection before it to be closed, in milliseconds. */
const EVICTION_TIMEOUT_MS = 700

/** The newest claim of a client ID. */
interface Entry {
  node: NodeId
  epoch: number
  /** Its node does not know whether it has its session: nobody else's is ended for it. */
  isTentative: boolean
  /** Of its node, by which it is known when it comes again; undefined when the node itself said what it has. */
  request: number | undefined
  /** Who else has a session, as was answered. */
  holder: NodeId | ''
  /** It is not answered yet: the connection before it is still being closed. */
  waiting: WaitingClaim | undefined
}

interface WaitingClaim {
  readonly request: number
  /** Who has to close a connection first. */
  readonly holder: NodeId
  /** Nothing of the session that the holder has is wanted. */
  readonly discard: boolean
  readonly deadline: number
}

export interface RegistrarModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  readonly ring: () => ClientRing
  readonly self: NodeId
  /** Whether all nodes have said what they hold since the ring has changed, or have had the time to. */
  readonly isCaughtUp: () => boolean
  /** Whether what is known here is not what it was before others have taken this node for dead. */
  readonly isSure: () => boolean
  /** True of a peer that may be silent, and still gets what is sent to it once it is heard again. */
  readonly isLinked: (node: NodeId) => boolean
}

export class Registrar {
  private readonly entries = new Map<string, Entry>()
  /** Client IDs with a waiting claim, those that wait longest first. */
  private readonly waiting = new Set<string>()

  /** Claims of client IDs of which another node may be about to say that it has them, or that it does not want them. */
  private early: [from: NodeId, claim: LinkBodyOf<'directoryClaim'>['value'], until: number][] = []

  constructor(private readonly modules: RegistrarModules) {}

  /** Client IDs whose holder is known here. */
  get size(): number {
    return this.entries.size
  }

  /** The node that has the client, or is to; undefined when nothing is known of it here. */
  holderOf(clientId: string): NodeId | undefined {
    return this.entries.get(clientId)?.node
  }

  /** @param until when it is given up unless it can be decided before; its node asks again */
  claim(from: NodeId, claim: LinkBodyOf<'directoryClaim'>['value'], until = performance.now() + EARLY_MS): void {
    const { request, clientId, discard, onlyFrom, inheritedEpoch } = claim
    const isTentative = claim.tentative === true
    const before = this.entries.get(clientId)
    const mayBeNobodys = onlyFrom === undefined || inheritedEpoch !== undefined
    const { isSure, isCaughtUp } = this.modules
    const isEarly = (!discard && !isSure()) || (before === undefined && mayBeNobodys && !isCaughtUp())
    // A node that looks for the session of its client will find the one that is inherited, and give way; or it lets the client in.
    const isUndecided = inheritedEpoch !== undefined && before?.isTentative === true && before.node !== from
    if (isEarly || isUndecided) {
      this.early.push([from, claim, until])
      return
    }
    // Asked once more on a new link: the answer may have been lost with the one before.
    if (before?.node === from && before.request === request) {
      if (before.waiting === undefined) this.answer(from, request, before.epoch, before.holder)
      return
    }
    const epoch = nextEpoch(Math.max(before?.epoch ?? 0, inheritedEpoch ?? 0))
    if (inheritedEpoch !== undefined) {
      const isOthers = before !== undefined && before.node !== onlyFrom && before.node !== from
      if ((isOthers && before.epoch > inheritedEpoch) || before?.waiting !== undefined)
        return this.answer(from, request, before?.epoch ?? 0, '', true)
      this.entries.set(clientId, { node: from, epoch, isTentative, request, holder: '', waiting: undefined })
      if (before !== undefined && before.node !== from) this.evict(before.node, clientId, epoch, true)
      return this.answer(from, request, epoch)
    }
    if (onlyFrom !== undefined && (before?.node !== onlyFrom || before.waiting !== undefined)) {
      return this.answer(from, request, before?.epoch ?? 0, '', true)
    }
    if (before === undefined) {
      this.entries.set(clientId, { node: from, epoch, isTentative, request, holder: '', waiting: undefined })
      return this.answer(from, request, epoch)
    }
    // Who waited has nothing open: the holder before it is still the one to close its connection.
    const holder = before.waiting?.holder ?? before.node
    this.supersede(before)
    this.waiting.delete(clientId)
    before.node = from
    before.epoch = epoch
    before.isTentative = isTentative
    before.request = request
    before.holder = ''
    // A node that has the client already need not be asked, and one that is silent is told without being waited for: when it
    // is heard again on the same link, it does not know that it was suspected.
    if (holder === from) return this.answer(from, request, epoch)
    if (!this.modules.ring().has(holder)) {
      this.evict(holder, clientId, epoch, discard)
      // Who asks may hear it, or knows that it cannot be heard: both is better than to take the session for nobody's.
      if (!discard) before.holder = holder
      return this.answer(from, request, epoch, before.holder)
    }
    before.waiting = { request, holder, discard, deadline: performance.now() + EVICTION_TIMEOUT_MS }
    this.waiting.add(clientId)
    this.evict(holder, clientId, epoch, discard)
  }

  evicted(from: NodeId, { clientId, epoch, session }: LinkBodyOf<'directoryEvicted'>['value']): void {
    const entry = this.entries.get(clientId)
    // An answer to an earlier eviction says nothing about what the node has got since.
    if (entry?.waiting?.holder === from && epoch >= entry.epoch) this.admit(clientId, entry, session)
  }

  release(from: NodeId, { clientId, epoch }: LinkBodyOf<'directoryRelease'>['value']): void {
    const entry = this.entries.get(clientId)
    if (entry?.node === from && entry.epoch === epoch && entry.waiting === undefined) this.entries.delete(clientId)
  }

  /** A node says that it has this client: after the ring has changed, or when it had to decide alone. */
  hold(from: NodeId, clientId: string, epoch: number): void {
    const entry = this.entries.get(clientId)
    if (entry === undefined) {
      this.entries.set(clientId, {
        node: from,
        epoch,
        isTentative: false,
        request: undefined,
        holder: '',
        waiting: undefined,
      })
    } else if (entry.node === from) {
      entry.epoch = Math.max(entry.epoch, epoch)
      entry.isTentative = false
    } else if (isHigher(epoch, from, entry)) {
      const loser = entry.waiting === undefined ? entry.node : undefined
      const loserEpoch = entry.epoch
      this.supersede(entry)
      this.waiting.delete(clientId)
      entry.node = from
      entry.epoch = epoch
      entry.isTentative = false
      entry.request = undefined
      // What it has is older than what the client has now: a session that its client has left for another.
      if (loser !== undefined) this.evict(loser, clientId, Math.max(epoch, loserEpoch + 1), true, true)
    } else if (entry.waiting?.holder !== from) {
      // One more: of two equal epochs one has to go. Its session may be what the other one is looking for.
      const isOutdated = !entry.isTentative
      this.evict(from, clientId, Math.max(entry.epoch, epoch + 1), isOutdated, isOutdated)
    } else if (epoch === entry.epoch) {
      // It is being told to go already, but with an epoch that is not above its own.
      this.evict(from, clientId, epoch + 1, entry.waiting.discard)
    }
  }

  /** Nodes have gone: nobody waits for them any more, and who asks sees whether they are gone for it, too. */
  ringChanged(): void {
    const ring = this.modules.ring()
    this.forgetEarly()
    for (const clientId of this.waiting) {
      const entry = this.entries.get(clientId)
      if (entry?.waiting !== undefined && !ring.has(entry.waiting.holder)) this.admit(clientId, entry, true)
    }
  }

  /** Who is not linked any more has asked another ring node: answered here as well, its claim would close what that gave. */
  forgetEarly(): void {
    const { self, isLinked } = this.modules
    this.early = this.early.filter(([from]) => from === self || isLinked(from))
  }

  /** Claims of this node that have waited here, and that are another ring node's by now: their requests. */
  takeStray(): number[] {
    const { self, ring } = this.modules
    const isStray = ([from, { clientId }]: (typeof this.early)[number]): boolean =>
      from === self && ring().nodeOf(clientId) !== self
    const stray = this.early.filter(isStray)
    this.early = this.early.filter((one) => !isStray(one))
    return stray.map(([, { request }]) => request)
  }

  /**
   * Forgets, one step at a time, what is not this node's to know, or of nodes that are not there any more. One that is only
   * silent would not tell again what it has.
   */
  *sweep(): Generator<void> {
    for (const [clientId, { node, waiting }] of this.entries) {
      const ring = this.modules.ring()
      const isOurs = ring.nodeOf(clientId) === this.modules.self
      const isThere = ring.has(node) || this.modules.isLinked(node)
      if (waiting === undefined && (!isOurs || !isThere)) this.entries.delete(clientId)
      yield
    }
  }

  /** What is held is known by now: claims that have waited for that go on. */
  caughtUp(): void {
    const { early } = this
    this.early = []
    for (const [from, claim, until] of early) this.claim(from, claim, until)
  }

  /** Lets claims go on whose holder does not answer. */
  checkTime(now: number): void {
    const { isSure, isCaughtUp } = this.modules
    // Nobody waits for these any more, and the client may be let in elsewhere by now.
    while (this.early[0] !== undefined && this.early[0][2] < now) this.early.shift()
    if (this.early.length > 0 && isCaughtUp() && isSure()) this.caughtUp()
    for (const clientId of this.waiting) {
      const entry = this.entries.get(clientId)
      if (entry?.waiting === undefined) continue
      if (entry.waiting.deadline > now) return
      // It may only be slow: the node that asked will see.
      this.admit(clientId, entry, true)
    }
  }

  private admit(clientId: string, entry: Entry, hasSession: boolean): void {
    const { waiting } = entry
    if (waiting === undefined) return
    entry.waiting = undefined
    this.waiting.delete(clientId)
    if (hasSession && !waiting.discard) entry.holder = waiting.holder
    this.answer(entry.node, waiting.request, entry.epoch, entry.holder)
  }

  private supersede(entry: Entry): void {
    const { waiting, node, epoch } = entry
    if (waiting === undefined) return
    entry.waiting = undefined
    this.answer(node, waiting.request, epoch, '', true)
  }

  private answer(to: NodeId, request: number, epoch: number, holder = '', superseded = false): void {
    this.modules.send(to, { $case: 'directoryAnswer', value: { request, epoch, superseded, holder } })
  }

  private evict(holder: NodeId, clientId: string, epoch: number, discard: boolean, outdated = false): void {
    const value = { clientId, epoch, discard, ...(outdated ? { outdated } : {}) }
    this.modules.send(holder, { $case: 'directoryEviction', value })
  }
}

/** The same answer on every node, also for epochs that two nodes gave out at once. */
function isHigher(epoch: number, node: NodeId, than: Entry): boolean {
  return epoch === than.epoch ? node > than.node : epoch > than.epoch
}
