/**
 * Where the session of a client is that has none as far as the directory knows: in the store that all share each node has its
 * own, whether it is there or not. Who finds one waits for it, rather than to give its client a new one.
 */

import type { Logger } from 'pino'
import type { NodeLife, SharedStore } from '../../broker/estate-port.js'
import type { SessionFound } from '../../broker/move-ports.js'
import type { NodeId } from '../../router/route-table.js'
import { asError } from '../../util/errors.js'
import type { AdoptionMetrics } from './metrics.js'

export interface SessionSearchModules {
  readonly self: NodeId
  readonly store: Pick<SharedStore, 'findSession' | 'isSettled'>
  /** Every member that is known, this node among them. */
  readonly members: () => readonly NodeId[]
  readonly isReachable: (node: NodeId) => boolean
  /** The life of a node that cannot be reached. */
  readonly lostLifeOf: (node: NodeId) => NodeLife | undefined
  readonly metrics: Pick<AdoptionMetrics, 'awaited'>
  readonly log: Logger
}

/** A client that waits for a session of a node. */
interface Waiter {
  readonly node: NodeId
  readonly deadline: number
  readonly done: (isBack: boolean) => void
}

export class SessionSearch {
  private waiters: Waiter[] = []
  private isLooking = false

  constructor(private readonly modules: SessionSearchModules) {}

  /** See `Takeovers.seek`. */
  seek(clientId: string, done: (found: SessionFound, node?: NodeId) => void): void {
    this.find(clientId).then(
      ([found, node]) => done(found, node),
      (error: unknown) => {
        this.modules.log.warn({ clientId, err: asError(error) }, 'whether a client has a session cannot be told')
        this.modules.metrics.awaited.away.value += 1
        done('unknown')
      },
    )
  }

  /** See `Takeovers.whenBack`. */
  whenBack(node: NodeId, until: number, done: (isBack: boolean) => void): void {
    this.waiters.push({ node, deadline: until, done })
  }

  /** What that node has had can be claimed. */
  isBack(node: NodeId): void {
    this.answer((waiter) => waiter.node === node, true)
  }

  /** To be called several times a second. */
  check(now: number): void {
    this.answer(({ deadline }) => deadline < now, false)
    if (!this.isLooking && this.waiters.length > 0) void this.lookForWaiters()
  }

  /** Nobody waits any more. */
  stop(): void {
    this.answer(() => true, false)
  }

  private async find(clientId: string): Promise<[found: SessionFound, node?: NodeId]> {
    const { self, store, members, isReachable } = this.modules
    const places = await Promise.all(
      members().map(async (node) => [node, await store.findSession(node, clientId)] as const),
    )
    const left = places.find(([, place]) => place === 'left')
    if (left !== undefined) return ['lost', left[0]]
    // On its way to this node, or from it: the directory knows of that.
    const kept = places.filter(([node, place]) => place === 'kept' && node !== self).map(([node]) => node)
    const lost = kept.find((node) => !isReachable(node))
    if (lost !== undefined) return ['lost', lost]
    return kept[0] === undefined ? ['none'] : ['held', kept[0]]
  }

  /** Whether what clients wait for is in its place by now: another node may not have been able to say so. */
  private async lookForWaiters(): Promise<void> {
    const { store, lostLifeOf, log } = this.modules
    this.isLooking = true
    try {
      for (const node of new Set(this.waiters.map((waiter) => waiter.node))) {
        if (await store.isSettled(lostLifeOf(node) ?? { node, incarnation: 0 })) this.isBack(node)
      }
    } catch (error) {
      log.debug({ err: asError(error) }, 'whether sessions are adopted cannot be told')
    } finally {
      this.isLooking = false
    }
  }

  private answer(isAnswered: (waiter: Waiter) => boolean, isBack: boolean): void {
    const answered = this.waiters.filter(isAnswered)
    if (answered.length === 0) return
    this.waiters = this.waiters.filter((waiter) => !isAnswered(waiter))
    this.modules.metrics.awaited[isBack ? 'back' : 'away'].value += answered.length
    for (const { done } of answered) done(isBack)
  }
}
