/**
 * Messages of QoS 1 and 2 that a peer was chosen for, because it has members of their group, and that are not settled
 * there yet: kept so that another member gets them when the peer goes first, wherever they are then, on the way to it
 * or with its member. The peer says by number what is settled (see `Receipts`), and what of the rest its own disk has.
 *
 * Of a peer whose sessions outlive it, the custody goes on through its incarnations: what it has not acknowledged comes to
 * its next life in the lane, and what its disk has stays there (docs/decisions/028).
 */

import type { PendingPublish } from '../broker/ports.js'
import type { Message } from '../mqtt/wire/message.js'

/** Rough cost of an entry besides payload, properties and topic. */
const ENTRY_OVERHEAD_BYTES = 160

/** Receipts in one message. */
const CHUNK_RECEIPTS = 4_096

/**
 * Gives a message to another member; false when there is none, and it is to be kept.
 * @param key the filter of the group
 * @param isLast it is not kept any longer
 */
export type PlaceAgain = (key: string, message: Message, isLast: boolean) => boolean

/** The lane to the peer: while it is shelved its holds end with a commit here, and not with an acknowledgement. */
export interface GuardedLane {
  readonly isShelved: boolean
}

/** One message, which takes the place of its publisher in the lane, and so hears when the peer has acknowledged it. */
export class GuardedMessage implements PendingPublish {
  private holds = 0
  /** The peer has it, and answers for it as far as its sessions outlive it. */
  isAcknowledged = false
  /** The disk of the peer has it. */
  isKept = false

  constructor(
    readonly receipt: number,
    readonly message: Message,
    readonly key: string,
    protected readonly pending: PendingPublish | undefined,
    private readonly lane: GuardedLane | undefined,
  ) {}

  get isRemembered(): boolean {
    return this.pending?.isRemembered === true
  }

  hold(): void {
    this.holds += 1
    this.pending?.hold()
  }

  release(): void {
    this.holds -= 1
    if (this.holds === 0 && this.lane?.isShelved !== true) this.isAcknowledged = true
    this.pending?.release()
  }
}

/** Of a publisher that can be told that the store fails. */
class RefusableMessage extends GuardedMessage {
  refuse(): void {
    if (this.pending !== undefined && 'refuse' in this.pending) (this.pending as { refuse(): void }).refuse()
  }
}

export class Custody {
  /** By receipt, in the order in which they were sent. */
  private readonly copies = new Map<number, GuardedMessage>()
  /** Given to others, and not told to the peer yet. */
  private readonly recalled = new Set<number>()
  private last = 0
  private held = 0

  /**
   * @param limitBytes what is kept at most; beyond it messages go without
   * @param counters where those are counted
   * @param lane to the peer
   */
  constructor(
    private readonly limitBytes: number,
    private readonly counters: { unguarded: number },
    private readonly lane?: GuardedLane,
  ) {}

  /** Messages kept. */
  get length(): number {
    return this.copies.size
  }

  get bytes(): number {
    return this.held
  }

  /**
   * Keeps a message; undefined when there is no room.
   * @param pending its publisher: whoever would hold it holds what is returned
   */
  take(message: Message, key: string, pending?: PendingPublish): GuardedMessage | undefined {
    const size = sizeOf(message)
    if (this.held + size > this.limitBytes) {
      this.counters.unguarded += 1
      return undefined
    }
    this.held += size
    this.last += 1
    const Copy = pending !== undefined && 'refuse' in pending ? RefusableMessage : GuardedMessage
    const copy = new Copy(this.last, message.detach(), key, pending, this.lane)
    this.copies.set(this.last, copy)
    return copy
  }

  /** It is settled, or was never sent; nothing happens when that is known. */
  settle(receipt: number): void {
    const copy = this.copies.get(receipt)
    if (copy === undefined) return
    this.copies.delete(receipt)
    this.held -= sizeOf(copy.message)
  }

  /** The disk of the peer has it: its next life has it, too. */
  noteKept(receipt: number): void {
    const copy = this.copies.get(receipt)
    if (copy !== undefined) copy.isKept = true
  }

  /** It is not there any more, but with a member that may end with the peer. */
  noteUnkept(receipt: number): void {
    const copy = this.copies.get(receipt)
    if (copy !== undefined) copy.isKept = false
  }

  /** This node goes its own way, not the peer: nothing is for others. */
  clear(): void {
    this.copies.clear()
    this.recalled.clear()
    this.held = 0
  }

  /**
   * The peer is down: its messages go to other members, oldest first. Those of QoS 2 only when it does not come back,
   * since its members may have been sent them. [MQTT-4.8.2-5]
   * @param isLast it does not come back
   */
  rescue(place: PlaceAgain, isLast: boolean): void {
    // The whole list first: who places a message may have it come here again.
    for (const { receipt, message, key } of [...this.copies.values()]) {
      if (!isLast && message.qos === 2) continue
      if (!place(key, message, isLast) && !isLast) continue
      this.settle(receipt)
      if (!isLast) this.recalled.add(receipt)
    }
  }

  /**
   * The peer has ended, and its sessions have not: what it has acknowledged is on its disk, or was with members that have
   * ended with it, and is for others. What it has not acknowledged is owed to whoever has its sessions, and comes there.
   */
  passOn(place: PlaceAgain): void {
    for (const { receipt, message, key, isAcknowledged, isKept } of [...this.copies.values()]) {
      this.settle(receipt)
      if (isAcknowledged && !isKept) place(key, message, true)
    }
  }

  /** Others have it, and the peer is not to have it any more. */
  isRecalled(receipt: number): boolean {
    return this.recalled.has(receipt)
  }

  /** What the peer is to be told when it is back after all: some of what it must not deliver; undefined: nothing more. */
  nextRecall(): number[] | undefined {
    if (this.recalled.size === 0) return undefined
    const chunk: number[] = []
    for (const receipt of this.recalled) {
      if (chunk.length === CHUNK_RECEIPTS) break
      chunk.push(receipt)
      this.recalled.delete(receipt)
    }
    return chunk
  }
}

function sizeOf({ payloadStart, payloadEnd, properties, topic }: Message): number {
  return payloadEnd - payloadStart + (properties?.length ?? 0) + topic.length + ENTRY_OVERHEAD_BYTES
}
