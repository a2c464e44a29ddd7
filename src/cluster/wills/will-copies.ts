/**
 * The half on the node where clients are: their wills, of which other nodes keep copies, should this one die.
 * [docs/decisions/017]
 */

import type { KeptWill } from '../../broker/ports.js'
import type { NodeId } from '../../router/route-table.js'
import { encodeWill } from '../takeover/session-part.js'
import type { LinkBody, LinkBodyOf } from '../wire.js'
import { DueWills } from './due-wills.js'
import type { WillMetrics } from './metrics.js'

/** Topic, payload and properties of a will of which copies are sent, in bytes: they take memory on two further nodes. */
const WILL_LIMIT_BYTES = 64 * 1024
/** Copies in one message when many are sent at once. */
const COPIES_PER_MESSAGE = 20

export type WillCopy = LinkBodyOf<'willCopies'>['value']['wills'][number]

interface OwnWill {
  readonly epoch: number
  readonly kept: KeptWill
  /** When the client was lost, as `performance.now` tells; undefined while it is here. */
  readonly lostAt: number | undefined
  /** Who has been sent a copy, in the order in which they are to publish it. */
  keepers: readonly NodeId[]
}

export interface WillCopiesModules {
  readonly send: (to: NodeId, body: LinkBody) => void
  /** Who is to keep the will of this client, first things first; without this node. */
  readonly keepersOf: (clientId: string) => readonly NodeId[]
  /** Whether this node lets its clients go. */
  readonly isLeaving: () => boolean
  readonly metrics: WillMetrics
}

export class WillCopies {
  private readonly own = new Map<string, OwnWill>()
  /** Wills of which others may have published their copies. */
  readonly due: DueWills

  constructor(private readonly modules: WillCopiesModules) {
    this.due = new DueWills(modules.isLeaving)
  }

  /** The client is here, or away since now, and has this will; it takes the place of one before. */
  keep(clientId: string, epoch: number, kept: KeptWill): void {
    if (sizeOf(kept) > WILL_LIMIT_BYTES) {
      this.modules.metrics.uncopied.value += 1
      return this.drop(clientId)
    }
    const before = this.own.get(clientId)
    const lostAt = kept.isLost ? performance.now() : undefined
    const own: OwnWill = { epoch, kept, lostAt, keepers: this.modules.keepersOf(clientId) }
    this.own.set(clientId, own)
    if (before !== undefined) this.recall(clientId, before, own.keepers)
    for (const keeper of own.keepers) this.tell(keeper, [copyOf(clientId, own)], false)
  }

  /** It is due: published, unless another node has done so. */
  settle(clientId: string, publish: () => void): void {
    const own = this.own.get(clientId)
    // Nobody else could have published one that nobody else has.
    if (own === undefined) publish()
    else {
      const { epoch } = own
      this.due.add(clientId, epoch, () => {
        publish()
        if (this.own.get(clientId)?.epoch === epoch) this.drop(clientId)
      })
    }
  }

  /** It has been published, or never will be. */
  drop(clientId: string): void {
    const own = this.own.get(clientId)
    // While it waits, others publish it should this node be killed.
    if (own === undefined || this.due.has(clientId, own.epoch)) return
    this.own.delete(clientId)
    this.recall(clientId, own, [])
  }

  /** Another node has published it; false when it is not the one that the client has now. */
  voided(clientId: string, epoch: number): boolean {
    this.due.voided(clientId, epoch)
    const own = this.own.get(clientId)
    if (own?.epoch !== epoch) return false
    // A keeper may have been sent it again since.
    this.drop(clientId)
    return true
  }

  /**
   * The ring has changed: sends, one step at a time, copies to those that are to keep them now.
   * @param returned a node whose link is new: it gets all of its copies again, and forgets what it had
   */
  *announce(returned: NodeId | undefined): Generator<void> {
    const lists = new Map<NodeId, WillCopy[]>()
    if (returned !== undefined) this.tell(returned, [], true)
    for (const [clientId, own] of this.own) {
      const keepers = this.modules.keepersOf(clientId)
      if (keepers.join() !== own.keepers.join() || (returned !== undefined && keepers.includes(returned))) {
        this.recall(clientId, own, keepers)
        own.keepers = keepers
        for (const keeper of keepers) {
          const list = lists.get(keeper) ?? []
          lists.set(keeper, list)
          list.push(copyOf(clientId, own))
          if (list.length < COPIES_PER_MESSAGE) continue
          lists.delete(keeper)
          this.tell(keeper, list, false)
        }
      }
      yield
    }
    for (const [keeper, list] of lists) this.tell(keeper, list, false)
  }

  private recall(clientId: string, { epoch, keepers }: OwnWill, except: readonly NodeId[]): void {
    const value = { owner: '', wills: [{ clientId, epoch }] }
    for (const keeper of keepers) {
      if (!except.includes(keeper)) this.modules.send(keeper, { $case: 'willsVoid', value })
    }
  }

  private tell(keeper: NodeId, wills: WillCopy[], isFirst: boolean): void {
    this.modules.send(keeper, { $case: 'willCopies', value: { wills, reset: isFirst } })
  }
}

function copyOf(clientId: string, { epoch, kept, lostAt, keepers }: OwnWill): WillCopy {
  const dueIn = lostAt === undefined ? kept.delay : kept.delay - (performance.now() - lostAt)
  return { clientId, epoch, will: encodeWill(kept.will, dueIn), lost: kept.isLost, keepers: [...keepers] }
}

function sizeOf({ will: { topic, payload, properties } }: KeptWill): number {
  const { responseTopic = '', contentType = '', correlationData, userProperties = [] } = properties
  let size = topic.length + payload.length + responseTopic.length + contentType.length + (correlationData?.length ?? 0)
  for (const [name, value] of userProperties) size += name.length + value.length
  return size
}
