/**
 * What a cluster asks of a store that all nodes share: what a node that is down has kept of its sessions, its estate,
 * goes to one heir. Taking it is one step, and from then on that life of the node writes there no more; a node that comes
 * back before it is taken has everything, one that comes back later has nothing of it. [docs/decisions/022]
 */

import type { NodeId } from '../router/route-table.js'
import type { Store } from './store-port.js'

/** A life of a node. */
export interface NodeLife {
  readonly node: NodeId
  readonly incarnation: number
}

/** Who sees to it that a node gets what one that is down has owed it: the heir of the one that has owed it, or of the other. */
export type DebtCollector = 'debtor' | 'receiver'

/** Hints up to this number are that heir's to give on. */
export interface DebtClaim {
  readonly by: DebtCollector
  readonly upTo: number
}

/** What a life of a node has kept, as others read it. */
export interface KeptPart {
  readonly node: NodeId
  /** Of the life. */
  readonly name: string
  /** An heir has taken it. */
  readonly isLeft: boolean
  /** Every entry of a table, in any order, each once. @throws Error when the store does not answer */
  table(name: string): AsyncIterable<readonly [key: string, value: Buffer]>
  /** Every entry of a shelf, in any order, each once. @throws Error when the store does not answer */
  shelf(name: string): AsyncIterable<readonly [number: number, value: Buffer]>
  /**
   * Says who gives on what this life has owed a receiver: whoever asks first. @param upTo the last hint that was read; 0 only looks
   * @returns who does; undefined when nobody has asked to, or nothing is there any more
   * @throws Error when the store does not answer
   */
  claimDebts(receiver: NodeId, by: DebtCollector, upTo: number): Promise<DebtClaim | undefined>
}

/** What a node that is down has left. It stays in the store until its heir has removed it. */
export interface Estate extends KeptPart {
  /**
   * These sessions are elsewhere by now, or over.
   * @returns false when another node is the heir
   * @throws Error when the store does not answer
   */
  remove(clientIds: readonly string[]): Promise<boolean>
  /** Nothing of it is needed any more. @throws Error when the store does not answer */
  close(): Promise<void>
}

/** What there is to take. */
export interface Inheritance {
  readonly estates: readonly Estate[]
  /** There is more, but not yet: another heir has it, or the node lives. */
  readonly hasMore: boolean
  /** Incarnation of the last life of the node that is over, as far as is known. */
  readonly last: number
}

export interface SharedStore extends Store {
  /**
   * Takes what a node has left: what it had when it went down, and what an heir has left that is down as well.
   * @param life of the node that is down, the last that was heard of
   * @param isGone whether an heir that has begun is down, or was an earlier life of this node
   * @param pulse of the node, which has stood still: nothing is taken when it is another by now
   * @throws Error when the store does not answer
   */
  inherit(life: NodeLife, isGone: (heir: NodeLife) => boolean, pulse: string): Promise<Inheritance>
  /**
   * Gives a sign of life there. Resolves with false when this life is not the one that writes there, so far as the store knows.
   * @throws Error when the store does not answer
   */
  beat(): Promise<boolean>
  /** Differs after each beat of that node; '' stands for nothing. @throws Error when the store does not answer */
  pulse(node: NodeId): Promise<string>
  /**
   * Where a session of this client is in what that node has in the store: `kept` by the node itself, `left` to an heir.
   * @throws Error when the store does not answer
   */
  findSession(node: NodeId, clientId: string): Promise<'kept' | 'left' | undefined>
  /** What a node has kept, and what it has left to heirs: as it is now. @throws Error when the store does not answer */
  kept(node: NodeId): Promise<readonly KeptPart[]>
  /** It may be that another node has taken this one for dead: the next commit tells. */
  checkLife(): void
  /** Whether nothing that this life of a node has had waits for an heir any more. @throws Error when the store does not answer */
  isSettled(life: NodeLife): Promise<boolean>
}

/** Whether what a node keeps there can be inherited. */
export function isShared(store: Store): store is SharedStore {
  return 'inherit' in store
}

/**
 * What of a node's store is its estate: sessions, and how far they have come in what each peer has sent; messages with a
 * delay; what it has owed its peers, and who gives that on. Retained messages every node has.
 */
export const ESTATE_TABLES = [
  'sessions',
  'session-progress',
  'received-positions',
  'delayed',
  'hint-receivers',
  /** See `KeptPart.claimDebts`. */
  'debt-claims',
] as const
export const ESTATE_SHELVES = ['session-messages', 'hints', 'group-messages'] as const
