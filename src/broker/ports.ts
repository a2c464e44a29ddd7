/**
 * What the broker asks of the outside, said in the broker's own words. `cluster/` implements these; without a
 * cluster the broker runs on `LONE_FORWARDER`, and its tests do just that.
 */

import type { ClientRights } from '../mqtt/host.js'
import type { Keeping } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { Will } from '../mqtt/wire/packets.js'
import type { GroupTargets } from '../router/group-targets.js'
import type { NodeId } from '../router/route-table.js'

export type { Keeping } from '../mqtt/session/session.js'
export type { NodeId } from '../router/route-table.js'

/**
 * A message of QoS 1 or 2 whose publisher waits for its acknowledgement. Everyone who still has to keep the message
 * adds one hold and releases it once; when the last hold is gone the publisher is answered. [MQTT 5.0 section 4.3]
 */
export interface PendingPublish {
  hold(): void
  release(): void
  /** The store keeps the packet id of this QoS 2 message: what others are owed of it must be there with it. */
  readonly isRemembered?: boolean
}

export interface Forwarder {
  /**
   * Sends a message once to each of `nodes` (never this node). Must not keep `message.chunk` beyond this turn
   * without copying. For QoS 0 `pending` is undefined. For QoS 1 and 2 the forwarder takes one hold per node and
   * releases it when that node has kept the message, or when the hand-over is settled in another way (kept as a
   * hint for a node that is down, or the node's life has ended).
   * @param targets groups of shared subscriptions, on `nodes` or on others, for which a member gets it; not kept
   */
  forward(
    message: Message,
    nodes: readonly NodeId[],
    pending: PendingPublish | undefined,
    targets: GroupTargets | undefined,
  ): void

  /**
   * Calls `done` once every live peer has confirmed the routes that this node announced until now, or after the
   * bound (1 s): SUBACK waits for it, so that "subscribed" means the cluster knows. Synchronous when none is owed.
   */
  whenRoutesConfirmed(done: () => void): void
}

/** The half of the broker that the cluster calls: a message that a peer forwarded, for the sessions of this node only. */
export interface ForwardedSink {
  /**
   * @param targets the groups here of which a member gets it; good until this returns
   * @param receipts told when the messages for groups that the peer keeps are settled
   */
  deliverForwarded(
    message: Message,
    from: NodeId,
    pending: PendingPublish | undefined,
    targets: GroupTargets | undefined,
    receipts?: Receipts,
  ): void

  /** A message that a peer has owed a node that is down (`estate`): for the sessions that are arriving here from that node. */
  deliverInherited(message: Message, from: NodeId, pending: PendingPublish | undefined, estate: NodeId): void

  /**
   * A message for a group whose member on another node has gone with that node: it is given to another member. False
   * when there is none now, and it may be tried again.
   * @param key the filter of the group
   * @param isLast it is not tried again: without another member it waits for one here, where sessions are kept, or is
   * dropped and counted
   * @param pending held until the member has it; nobody waits unless given
   */
  placeAgain(key: string, message: Message, isLast: boolean, pending?: PendingPublish): boolean

  /**
   * Who has members of which group has changed, or who is there.
   * @param untold how many nodes that keep sessions have not said yet which groups they have members of
   */
  groupsChanged(untold: number): void

  /** What has waited for members of groups on a node that is down waits here; resolves when it is kept. */
  inheritWaiting(values: readonly Buffer[]): Promise<void>
}

/** What a peer wants to know of the messages that it keeps until they are settled (see `GroupTargets.receipts`). */
export interface Receipts {
  /** False when the peer has given the message to another member meanwhile. */
  admit(receipt: number): boolean
  /** The message needs no other member any more. */
  settle(receipt: number): void
  /** A session here has it that outlives this node. */
  keep(receipt: number): void
  /** It has gone on from there to a member that may end with this node. */
  unkeep(receipt: number): void
}

/** What a claim says beside its client ID. */
export interface ClaimTerms {
  /**
   * There is no client, and the session of that node is to come here: `done` gets undefined also when the client ID is not
   * that node's any more, or nobody knows.
   */
  readonly onlyFrom?: NodeId | undefined
  /** That node is down: good as well while nobody has a later session of the client. */
  readonly inheritedEpoch?: number | undefined
  /** When `done` is called at the latest, as `performance.now` tells. */
  readonly until?: number
}

/** One client ID, one connection, in the whole cluster. */
export interface Directory {
  /**
   * A client is about to come in here: its connection on another node is closed first. `done` is called once, perhaps
   * at once and never later than some three seconds; with the epoch of the connection, or with undefined when the client ID
   * has come to another node meanwhile. With it comes the name of the node that has a session of the client, if any.
   * @param discard the client wants nothing of what it had before: a session on another node ends
   */
  claim(
    clientId: string,
    discard: boolean,
    done: (epoch: number | undefined, holder: NodeId | undefined) => void,
    terms?: ClaimTerms,
  ): void

  /** Other nodes are to publish this will if this one dies; it takes the place of the one before. */
  keepWill(clientId: string, epoch: number, will: KeptWill): void

  /**
   * A will is due. `publish` is called once, mostly at once, and within seconds where other nodes may have published it
   * already; not at all if they have.
   */
  settleWill(clientId: string, publish: () => void): void

  /** The client has no will any more, or it is published; nothing happens when it had none. */
  dropWill(clientId: string): void

  /** Nothing of the client is left here; nothing happens when it has come again since that epoch. */
  release(clientId: string, epoch: number): void

  /**
   * The client has its session here: older ones end. Where there may have been one that nobody knew of, its claim alone has
   * not ended anything.
   */
  settle(clientId: string, epoch: number): void

  /** The session that was to follow its client to another node stays here after all. */
  keep(clientId: string): void

  /** A session of this client is here again, after a restart of this node; the epoch is that of its last connection. */
  restore(clientId: string, epoch: number): void
}

/** The half of the broker that the directory calls. */
export interface DirectorySink {
  /**
   * The client ID has connected to another node: its connection here is closed, and with `discard` its session ends.
   * True when a session is left here, which the other node may ask for.
   * @param isOutdated the client has its session there: what is here is left from before it went
   */
  evict(clientId: string, discard: boolean, isOutdated?: boolean): boolean

  /** Its session is on its way to another node. */
  isLeaving(clientId: string): boolean

  /** Publishes the will of a client whose node has died. */
  publishWillOf(clientId: string, will: Will): void

  /** The will of a client has been published by another node, which took this one for dead. */
  voidWill(clientId: string): void
}

/** A will of a client that is here, or was; for other nodes to publish if this one dies. */
export interface KeptWill {
  readonly will: Will
  /** Milliseconds from the loss of its client until it is due. */
  readonly delay: number
  /** The client is lost already, and that time runs. */
  readonly isLost: boolean
}

/** A directory for a broker without peers: whoever comes is let in. */
export const LONE_DIRECTORY: Directory = {
  claim(_clientId, _discard, done) {
    done(0, undefined)
  },
  release() {},
  settle() {},
  keep() {},
  keepWill() {},
  settleWill(_clientId, publish) {
    publish()
  },
  dropWill() {},
  restore() {},
}

/** A forwarder for a broker without peers. */
export const LONE_FORWARDER: Forwarder = {
  forward() {},
  whenRoutesConfirmed(done) {
    done()
  },
}

/**
 * A small map that every node has a copy of: last writer wins by hybrid logical clock. Retained messages live in
 * one, keyed by topic name.
 */
export interface Replica {
  /**
   * Sets or (with undefined) removes a key, here and on every peer. The value's bytes are copied.
   * @param keeping is held until this node has it on its disk, where it keeps it there
   * @returns false for a value that is too large for the peers: then the key has none
   */
  set(key: string, value: Uint8Array | undefined, keeping?: Keeping): boolean

  /** The value of a key, in bytes of its own. */
  get(key: string): Buffer | undefined

  /**
   * Removes a key whose value has ended by itself, by a deadline that every node knows. Gives way to any later write,
   * also to one that has not arrived here yet; the other nodes remove it in the same way when they notice.
   */
  expire(key: string): void
}

/** Who a client is, as far as it has been proved. */
export interface ClientIdentity {
  readonly clientId: string
  /** Undefined for an anonymous client: a user name that nobody has checked is none. */
  readonly username: string | undefined
  /** IP address; '' when there is none, as on a Unix domain socket. */
  readonly address: string
}

/** A user name and a password to be checked. */
export interface Login {
  readonly username: string | undefined
  readonly password: Uint8Array | undefined
  /** Whether the listener lets clients without a user name in; undefined leaves it to the options of the node. */
  readonly allowsAnonymous?: boolean | undefined
  /** False once the client is gone: its password need not be checked any more. */
  isWaiting(): boolean
}

/** How a login ends. */
export type LoginOutcome =
  | {
      readonly isAdmitted: true /** False: nothing was checked, the client is anonymous. */
      readonly isProven: boolean
    }
  | { readonly isAdmitted: false /** For CONNACK. */; readonly reasonCode: number; readonly reason: string }

/** Who may come in, and what each may do: asked before Aedes' hooks. `access/` implements it, by files. */
export interface Access {
  /** Whether publishing is restricted at all; the same for the life of the node. */
  readonly limitsPublish: boolean

  /** Checks a login; `done` is called once, now or later, also for a client that does not wait any more. */
  authenticate(login: Login, done: (outcome: LoginOutcome) => void): void

  /** What an admitted client may do, now and after every change of the rules. */
  rightsOf(client: ClientIdentity): ClientRights

  /** Whether there was such a user, and is none any more: connections that logged in as that user are closed. */
  isRemoved(username: string): boolean
}
