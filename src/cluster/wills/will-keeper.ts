/**
 * The half on the nodes that keep copies of other nodes' wills: publishes those of a node that is down, each once.
 *
 *   held ──its node is down──► due after its delay ──► published, the other keepers told
 *    ▲                           │      └── its client comes to another node ──► void
 *    └──the node is back─────────┘
 */

import type { Logger } from 'pino'
import type { Will } from '../../mqtt/wire/packets.js'
import type { NodeId } from '../../router/route-table.js'
import { asError } from '../../util/errors.js'
import { decodeWill } from '../takeover/session-part.js'
import type { LinkBody, LinkBodyOf } from '../wire.js'
import type { WillMetrics } from './metrics.js'
import type { WillCopy } from './will-copies.js'

/** How long a node that is back is told on each link what was published for it: the first ones may be replaced, in milliseconds. */
const TOLD_MS = 60_000
/** Wills in one message when many are void. */
const VOIDS_PER_MESSAGE = 500
/** How long after it was due a copy is kept that another node is to publish, in milliseconds. */
const RESERVE_MS = 30_000

interface Copy {
  readonly epoch: number
  readonly will: Will
  /** Milliseconds from the loss of the client. */
  readonly delay: number
  readonly keepers: readonly NodeId[]
  /** As `performance.now` tells; Infinity until the client is lost, or its node. */
  dueAt: number
}

/** One incarnation of a node, and the wills of its clients. */
interface Life {
  readonly owner: NodeId
  readonly incarnation: number
  readonly copies: Map<string, Copy>
  isOver: boolean
  /** What was published or cancelled since it is: for the node itself, if it is alive after all. */
  readonly voided: Map<string, number>
  /** Until when it is told so on each new link, as `performance.now` tells; Infinity until it has one. */
  toldUntil: number
}

export interface WillKeeperModules {
  readonly self: NodeId
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Whether a node answers. */
  readonly isThere: (node: NodeId) => boolean
  /** Whether the client is known to be at another node than this. */
  readonly isElsewhere: (clientId: string, node: NodeId) => boolean
  readonly publish: (clientId: string, will: Will) => void
  readonly metrics: WillMetrics
  readonly log: Logger
}

export class WillKeeper {
  private lives: Life[] = []

  constructor(private readonly modules: WillKeeperModules) {}

  /** Copies that are kept here. */
  get size(): number {
    return this.lives.reduce((sum, { copies }) => sum + copies.size, 0)
  }

  /** A link to a node is open. */
  nodeUp(owner: NodeId, incarnation: number): void {
    for (const life of this.lives) {
      if (life.owner !== owner) continue
      if (life.incarnation === incarnation) this.revive(life)
      else this.end(life)
    }
    if (this.current(owner)?.incarnation === incarnation) return
    this.lives.push({ owner, incarnation, copies: new Map(), isOver: false, voided: new Map(), toldUntil: 0 })
  }

  /**
   * A node is down, or has stopped: from now on the delays of its wills run. One that stops in order has published those
   * of its clients and handed others on; what is left is of sessions that have ended with it.
   */
  nodeGone(owner: NodeId): void {
    for (const life of this.lives) if (life.owner === owner) this.end(life)
  }

  /** A node has left the cluster, and serves on alone: its wills are its own. */
  nodeDeparted(owner: NodeId): void {
    const life = this.current(owner)
    this.lives = this.lives.filter((one) => one !== life)
  }

  copied(from: NodeId, { wills, reset }: LinkBodyOf<'willCopies'>['value']): void {
    const life = this.current(from)
    if (life === undefined) return
    if (reset) life.copies.clear()
    for (const copy of wills) this.add(life, copy)
  }

  /** Wills of that node are void: it says so itself, or one that has published them. */
  voided(from: NodeId, { owner, wills }: LinkBodyOf<'willsVoid'>['value']): void {
    for (const life of this.lives) {
      if (life.owner !== (owner === '' ? from : owner)) continue
      for (const { clientId, epoch } of wills) {
        if (life.copies.get(clientId)?.epoch === epoch) life.copies.delete(clientId)
      }
    }
  }

  /**
   * A client has come to this node or another. What a node that does not answer has of it is over: a will that waits for
   * its delay is void, others are due before the client is let in.
   * @param discard the session is over, too
   */
  clientCame(node: NodeId, clientId: string, discard: boolean): void {
    for (const life of this.lives) {
      const copy = life.copies.get(clientId)
      if (copy === undefined) continue
      // That node sees to it itself.
      if (!life.isOver && (life.owner === node || this.modules.isThere(life.owner))) continue
      if (discard || copy.delay <= 0 || copy.dueAt <= performance.now()) this.publish(life, clientId, copy)
      else this.cancel(life, clientId, copy)
    }
  }

  checkTime(now: number): void {
    for (const life of this.lives) {
      if (!life.isOver) {
        if (life.toldUntil < now) life.voided.clear()
        continue
      }
      for (const [clientId, copy] of life.copies) {
        if (copy.dueAt > now) continue
        if (this.modules.isElsewhere(clientId, life.owner)) this.cancel(life, clientId, copy)
        else if (this.isTurnOf(copy)) this.publish(life, clientId, copy)
        else if (copy.dueAt + RESERVE_MS < now) life.copies.delete(clientId)
      }
    }
    // Nobody can come back to a life when the node has begun another.
    this.lives = this.lives.filter((life) => !life.isOver || life.copies.size > 0 || this.current(life.owner) === life)
  }

  private add(life: Life, { clientId, epoch, will, lost, keepers }: WillCopy): void {
    if (will === undefined) return
    // It is here, and not where it was before.
    this.clientCame(life.owner, clientId, false)
    const dueAt = lost ? performance.now() + will.dueIn : Number.POSITIVE_INFINITY
    try {
      life.copies.set(clientId, { epoch, will: decodeWill(will), delay: will.dueIn, keepers, dueAt })
    } catch (error) {
      this.modules.log.error(
        { clientId, peer: life.owner, err: asError(error) },
        'a will of another node is not readable',
      )
    }
  }

  private end(life: Life): void {
    if (life.isOver) return
    life.isOver = true
    const now = performance.now()
    for (const copy of life.copies.values()) copy.dueAt = Math.min(copy.dueAt, now + Math.max(0, copy.delay))
    if (life.copies.size > 0) {
      this.modules.log.info(
        { peer: life.owner, wills: life.copies.size },
        'wills of a node that is down are due after their delays',
      )
    }
  }

  /** It was only cut off; it sends its wills again. */
  private revive(life: Life): void {
    if (life.isOver || life.toldUntil === Number.POSITIVE_INFINITY) life.toldUntil = performance.now() + TOLD_MS
    life.isOver = false
    life.copies.clear()
    const wills = Array.from(life.voided, ([clientId, epoch]) => ({ clientId, epoch }))
    for (let at = 0; at < wills.length; at += VOIDS_PER_MESSAGE) {
      const value = { owner: life.owner, wills: wills.slice(at, at + VOIDS_PER_MESSAGE) }
      this.modules.send(life.owner, { $case: 'willsVoid', value })
    }
  }

  private publish(life: Life, clientId: string, copy: Copy): void {
    this.settle(life, clientId, copy)
    this.modules.metrics.outcomes.published.value += 1
    this.modules.log.debug({ clientId, peer: life.owner }, 'the will of a client is published for its node')
    this.modules.publish(clientId, copy.will)
  }

  private cancel(life: Life, clientId: string, copy: Copy): void {
    this.settle(life, clientId, copy)
    this.modules.metrics.outcomes.cancelled.value += 1
  }

  /** Nobody else is to publish it, nor its own node. */
  private settle(life: Life, clientId: string, { epoch, keepers }: Copy): void {
    const { owner, copies, voided } = life
    copies.delete(clientId)
    voided.set(clientId, epoch)
    // Also a node that is silent and not taken for down yet is to hear of it, whenever it is heard again.
    life.toldUntil = Number.POSITIVE_INFINITY
    const value = { owner, wills: [{ clientId, epoch }] }
    for (const keeper of keepers) {
      if (keeper !== this.modules.self) this.modules.send(keeper, { $case: 'willsVoid', value })
    }
  }

  /** The first of its keepers that is there publishes it. */
  private isTurnOf({ keepers }: Copy): boolean {
    const { self, isThere } = this.modules
    return keepers.find((keeper) => keeper === self || isThere(keeper)) === self
  }

  /** The newest life of a node. */
  private current(owner: NodeId): Life | undefined {
    return this.lives.findLast((life) => life.owner === owner)
  }
}
