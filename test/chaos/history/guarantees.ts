/** What a configuration of the cluster promises, as `docs/guarantees.md` says it; the checker holds a history to it. */

export interface Guarantees {
  /** A session is there, with all it had, after `kill -9` of its node. */
  readonly sessionsOutliveKill: boolean
  /** It is wherever its client comes to: other nodes take over the sessions of one that is gone. Else its client waits. */
  readonly sessionsAreAdopted: boolean
  /** A session whose client is away is on another node when its own has stopped by SIGTERM, if one has taken it. */
  readonly awaySessionsOutliveDrain: boolean
  /** A retained message is there after `kill -9` of the node that has acknowledged it. */
  readonly retainedOutlivesKill: boolean
  /** A message with a delay is published all the same after the node that has acknowledged it has ended and is back. */
  readonly delayedOutlivesEnd: boolean
  /** How long one client ID may have two connections in a whole network, in milliseconds. */
  readonly overlapMs: number
  /** How long a node waits for the session of a client that comes to it, in milliseconds: then it begins a new one. */
  readonly answerMs: number
  /** How long what waits for a session may be on its way after its client has come to another node, in milliseconds. */
  readonly moveMs: number
}

export type StoreKind = 'embedded' | 'redis' | 'memory'

/**
 * Whether a kill may cost sessions nothing. They are on the disk of their node, and what they are owed on the disks of the others; so
 * clients of a killed node wait for it.
 */
const KILL_COSTS_NOTHING = true

/** Whether a store in Redis keeps sessions, which the nodes that are left take over: the line to change when it does. */
const REDIS_KEEPS_SESSIONS = true

/** Links are up within seconds of a network being whole, and who holds a client ID is told on them at once. */
const OVERLAP_MS = 5_000
const MOVE_MS = 5_000
/** 2.2 s, less what a CONNECT needs before that. A machine that stands still for so long costs sessions. */
const ANSWER_MS = 2_000

export function guaranteesOf(store: StoreKind): Guarantees {
  return {
    sessionsOutliveKill: (KILL_COSTS_NOTHING && store === 'embedded') || (REDIS_KEEPS_SESSIONS && store === 'redis'),
    sessionsAreAdopted: REDIS_KEEPS_SESSIONS && store === 'redis',
    awaySessionsOutliveDrain: true,
    retainedOutlivesKill: store !== 'memory',
    delayedOutlivesEnd: store !== 'memory',
    overlapMs: OVERLAP_MS,
    answerMs: ANSWER_MS,
    moveMs: MOVE_MS,
  }
}
