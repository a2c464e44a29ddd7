/** What a configuration of the cluster promises, as `docs/guarantees.md` says it; the checker holds a history to it. */

export interface Guarantees {
  /** A session is there, with all it had, after `kill -9` of its node. */
  readonly sessionsOutliveKill: boolean
  /** A session whose client is away is on another node when its own has stopped by SIGTERM. */
  readonly awaySessionsOutliveDrain: boolean
  /** A retained message is there after `kill -9` of the node that has acknowledged it. */
  readonly retainedOutlivesKill: boolean
  /** How long one client ID may have two connections in a whole network, in milliseconds. */
  readonly overlapMs: number
  /** How long what waits for a session may be on its way after its client has come to another node, in milliseconds. */
  readonly moveMs: number
}

export type StoreKind = 'embedded' | 'memory'

/** Whether sessions are on the disk of their node: the one line to change when they are. */
const SESSIONS_ON_DISK = false

/** Links are up within seconds of a network being whole, and who holds a client ID is told on them at once. */
const OVERLAP_MS = 5_000
const MOVE_MS = 5_000

export function guaranteesOf(store: StoreKind): Guarantees {
  return {
    sessionsOutliveKill: SESSIONS_ON_DISK && store === 'embedded',
    awaySessionsOutliveDrain: SESSIONS_ON_DISK && store === 'embedded',
    retainedOutlivesKill: store === 'embedded',
    overlapMs: OVERLAP_MS,
    moveMs: MOVE_MS,
  }
}
