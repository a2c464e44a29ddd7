/**
 * What broker and cluster ask of each other when a session moves from the node that has it (the giver) to the node where
 * its client is (the taker). The broker knows what a session is, `cluster/takeover` how it gets there.
 */

import type { Hold } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { QoS, SubscriptionOptions, Will } from '../mqtt/wire/packets.js'
import type { NodeId } from '../router/route-table.js'
import type { Estate } from './estate-port.js'
import type { EstateContents } from './kept/inherited-sessions.js'

/** A message of a session, as its client is to get it. */
export interface MovedMessage {
  /** In bytes of its own. */
  readonly message: Message
  readonly qos: QoS
  readonly retain: boolean
  readonly subscriptionIds: readonly number[] | undefined
  /** The shared subscription (`$share/{group}/{filter}`) that it came by. */
  readonly share: string | undefined
}

/** A packet in flight to the client; without a message when PUBREL is out. */
export interface MovedInFlight extends Omit<MovedMessage, 'message'> {
  readonly packetId: number
  readonly message: Message | undefined
  /** See `InFlight.releaseOrder`. */
  readonly releaseOrder: number
}

export interface MovedSubscription {
  readonly filter: string
  readonly options: SubscriptionOptions
}

/** The rest of what a session has, apart from subscriptions, packets in flight and its queue. */
export interface MovedState {
  /** Seconds. */
  readonly expiryInterval: number
  readonly lastPacketId: number
  /** QoS 2 packet ids that the client has not released, and those of them whose message is not kept everywhere yet. */
  readonly received: readonly number[]
  readonly unsettled: readonly number[]
  /** Those whose message could not be kept, which the client has not been told. */
  readonly refused: readonly number[]
  /** Topic filters whose retained messages the client has not got in full. */
  readonly retainedFeeds: readonly string[]
  /** Undefined while its client is connected. */
  readonly waits: MovedWaits | undefined
}

/** What becomes of a session whose client stays away, and when: in milliseconds from now. */
export interface MovedWaits {
  /** Until the session ends; Infinity: never. */
  readonly endsIn: number
  /** A will that waits for its delay, which its client may publish. [MQTT-3.1.3-9] */
  readonly will: { readonly will: Will; readonly dueIn: number } | undefined
}

/** A session that leaves. It stays whole here, and gets the messages that are still its, until `commit` or `abort`. */
export interface LeavingSession {
  readonly clientId: string
  readonly subscriptions: Iterable<MovedSubscription>
  readonly inFlight: Iterable<MovedInFlight>
  readonly state: MovedState
  readonly queueLength: number
  /** A message of the queue, counted from its front; it stays there. */
  messageAt(place: number): MovedMessage | undefined
  /** What that node publishes or forwards from now on goes to the taker. */
  cut(node: NodeId): void
  /**
   * What these nodes send here before their marks is to follow the session: before `close`.
   * @param pass gets each message, of QoS 1 or 2, in the order in which they come
   */
  leaveRest(nodes: Iterable<NodeId>, pass: (message: Message, pending: Hold | undefined) => void): SessionRest
  /** Everything is cut, and the queue is sent: no message comes any more. */
  close(): void
  /** Calls `settled` as the message of each of the unsettled packet ids is kept, or cannot be. */
  watchUnsettled(settled: (packetId: number, isRefused: boolean) => void): void
  /** The taker has everything, and a client may have had it there. */
  commit(): void
  /** It has ended before its client got it: its will is due. */
  end(): void
  /**
   * It stays here: gets messages again and waits for its client.
   * @param takesSpares the taker is gone: what was the taker's meanwhile is the session's here
   */
  abort(takesSpares?: boolean): void
  /** After `abort`: a message that was to follow it. */
  take(message: Message, pending: Hold | undefined): void
}

/** What is left of a session at a node that it has left: see `LeavingSession.leaveRest`. */
export interface SessionRest {
  /** What that node sends from now on does not follow the session. */
  cut(node: NodeId): void
  /** Nothing follows it any more; idempotent. */
  end(): void
}

/** A session that arrives. It is in the registry and in the subscription tables from the beginning. */
export interface ArrivingSession {
  subscribe(subscription: MovedSubscription): void
  restore(state: MovedState, inFlight: readonly MovedInFlight[]): void
  add(message: MovedMessage): void
  /** Messages from nodes that are not among these are taken; those of these once they are cut. */
  await(nodes: Iterable<NodeId>): void
  /** What that node publishes or forwards from now on is for this node. */
  cut(node: NodeId): void
  /** Of this one, what is before its mark comes from the giver: what is behind it waits for that. */
  holdBack(node: NodeId): void
  /** All that the giver has of that node's messages is here, or is not waited for. */
  release(node: NodeId): void
  /** From now on all messages are for this node. */
  openGate(): void
  /** A message that the giver passes on, for this session only. */
  take(message: Message, pending: Hold | undefined): void
  /** The session leaves: what was held back, and is let go from now on, goes there; undefined: it stays. */
  redirect(pass: ((message: Message, pending: Hold | undefined) => void) | undefined): void
  /** It has ended, or gone on to another node. */
  readonly isOver: boolean
  /** The whole queue is here, or as much of it as ever will be: what came meanwhile follows. */
  endQueue(): void
  /** It is a session like any other from now on. @param keepsGate save that marks are missing, or what is before them */
  finish(keepsGate?: boolean): void
  /** After `endQueue`: calls `done` when it is on the disk here, where sessions are kept, so that the giver may forget it. */
  whenKept(done: (isKept: boolean) => void): void
  /** What is here is not a session: it is forgotten. */
  drop(): void
}

/** A session whose client is away, for another node to have. */
export interface OfferedSession {
  readonly clientId: string
  /** The user whose session it is; undefined for an anonymous client. */
  readonly owner?: string | undefined
}

/** A session of a node that is down. */
export interface InheritedSession extends OfferedSession {
  /** Of its last connection. */
  readonly epoch: number
  readonly subscriptions: readonly MovedSubscription[]
  readonly inFlight: readonly MovedInFlight[]
  readonly queue: readonly MovedMessage[]
  /** As it is when it is asked for. */
  state(): MovedState
}

/** The half of the broker that moves ask. */
export interface SessionMoves {
  /** Whether there are sessions here whose clients are away, those on their way to another node included. */
  readonly hasWaiting: boolean
  /** How many of them; looks at every session. */
  countWaiting(): number
  /** Whether that one is here, and its client away. */
  isWaiting(clientId: string): boolean
  /** Those of them that are not on their way, as long as nobody changes them. */
  waiting(): Iterable<OfferedSession>
  /** Gets the session that a node offers as if its client had come here; false when there is no room. */
  adopt(session: OfferedSession, from: NodeId): boolean
  /**
   * The session of a client whose connection here has been closed.
   * @param epoch of the connection that it is to go to
   * @param owner whose it has to be: another user's session ends instead
   * @returns undefined when there is none, or its client has come here since
   */
  leave(clientId: string, epoch: number, owner: string | undefined): LeavingSession | undefined
  arrive(clientId: string, epoch: number, owner: string | undefined): ArrivingSession
  /** A message for the session of this client, if there is one. */
  deliverTo(clientId: string, message: Message, pending: Hold | undefined): void
  /** Whether a session of this client is here, or on its way here. */
  has(clientId: string): boolean
  /** Calls `done` when the session of this client, as it is now, is kept, or cannot be. */
  whenKept(clientId: string, done: (isKept: boolean) => void): void
  /** The sessions of a node that is down, and those of them that have ended. @throws Error when the store does not answer */
  readEstate(estate: Estate): Promise<EstateContents>
  /** Messages with a delay of a node that is down: resolves when they are kept here, or cannot be. @throws Error when one cannot be read */
  inheritDelayed(values: readonly Buffer[]): Promise<void>
  /** A session of a node that is down: all that was kept of it is here, and what that node is owed is still to come. */
  inherit(session: InheritedSession, epoch: number, from: NodeId): ArrivingSession
  /** QoS 2 messages that a client had sent to the node that its session came from are kept by now, or cannot be. */
  settle(clientId: string, packetIds: readonly number[], areRefused: boolean): void
}

/**
 * Where the session of a client is that has none as far as the directory knows: nowhere; `lost`, with a node that cannot be
 * reached, or on its way from one; `held` by a node that can be asked for it; `unknown` where the store does not answer.
 */
export type SessionFound = 'none' | 'lost' | 'held' | 'unknown'

/** The half of the cluster that the broker asks. */
export interface Takeovers {
  /**
   * Gets the session of a client from the node that has it. `done` is called once, within three seconds: with true when
   * the session is here (its queue may still be coming), with false when there is none to be had.
   */
  fetch(request: FetchRequest, done: (isHere: boolean) => void): void
  /** The client wants nothing of a session that is arriving. */
  discard(clientId: string): void
  /** The client is back here: a session that is leaving stays. */
  reclaim(clientId: string): void
  /** False while this node may have been taken for dead, and what it has may be another's: nearly never. */
  readonly isSure: boolean
  /** True while this process, which has stood still, asks whether it was taken for dead: nothing that has come is taken in. */
  readonly isInDoubt: boolean
  /** `done` is called once: with true when it is sure, with false when it is not by `until`, as `performance.now` tells. */
  whenSure(until: number, done: (isSure: boolean) => void): void
  /** Whether there may be sessions that the directory does not know of; nearly always there are none. */
  readonly mayBeLost: boolean
  /** Where the session of a client is that has none as far as the directory knows; `done` is called once. */
  seek(clientId: string, done: (found: SessionFound, node?: NodeId) => void): void
  /**
   * What that node has kept: `done` is called once, with true when it can be claimed, and with false when it cannot by
   * `until`, as `performance.now` tells.
   */
  whenBack(node: NodeId, until: number, done: (isBack: boolean) => void): void
  /** Of a session that is coming here from a node that is down: calls `done` when it is here; false when none is. */
  whenInherited(clientId: string, done: () => void): boolean
}
export interface FetchRequest {
  readonly clientId: string
  readonly epoch: number
  readonly holder: NodeId
  readonly owner: string | undefined
  /** When `done` has to have been called, as `performance.now` tells; as soon as it is looked at, some 100 ms later. */
  readonly until: number
}

/** Without peers there is nothing to take over. */
export const NO_TAKEOVERS: Takeovers = {
  fetch(_request, done) {
    done(false)
  },
  discard() {},
  reclaim() {},
  isSure: true,
  isInDoubt: false,
  whenSure(_until, done) {
    done(true)
  },
  mayBeLost: false,
  seek(_clientId, done) {
    done('none')
  },
  whenBack(_node, _until, done) {
    done(false)
  },
  whenInherited() {
    return false
  },
}
