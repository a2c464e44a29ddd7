/**
 * Messages of QoS 1 and 2 that a peer was chosen for, because it has members of their group, and that are not settled
 * there yet: kept so that another member gets them when the peer goes first, wherever they are then, on the way to it
 * or with its member. The peer says by number what is settled (see `Receipts`). One custody serves one pair of
 * incarnations.
 */

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

interface KeptCopy {
  readonly message: Message
  readonly key: string
}

export class Custody {
  /** By receipt, in the order in which they were sent. */
  private readonly copies = new Map<number, KeptCopy>()
  private readonly recalled: number[] = []
  private last = 0
  private held = 0

  /**
   * @param limitBytes what is kept at most; beyond it messages go without
   * @param counters where those are counted
   */
  constructor(
    private readonly limitBytes: number,
    private readonly counters: { unguarded: number },
  ) {}

  /** Messages kept. */
  get length(): number {
    return this.copies.size
  }

  get bytes(): number {
    return this.held
  }

  /** Keeps a message; returns its receipt, 0 when there is no room. */
  take(message: Message, key: string): number {
    const size = sizeOf(message)
    if (this.held + size > this.limitBytes) {
      this.counters.unguarded += 1
      return 0
    }
    this.held += size
    this.last += 1
    this.copies.set(this.last, { message: message.detach(), key })
    return this.last
  }

  /** It is settled, or was never sent; nothing happens when that is known. */
  settle(receipt: number): void {
    const copy = this.copies.get(receipt)
    if (copy === undefined) return
    this.copies.delete(receipt)
    this.held -= sizeOf(copy.message)
  }

  /** This node goes its own way, not the peer: nothing is for others. */
  clear(): void {
    this.copies.clear()
    this.recalled.length = 0
    this.held = 0
  }

  /**
   * The peer is down: its messages go to other members, oldest first. Those of QoS 2 only when it does not come back,
   * since its members may have been sent them. [MQTT-4.8.2-5]
   * @param isLast it does not come back
   */
  rescue(place: PlaceAgain, isLast: boolean): void {
    // The whole list first: who places a message may have it come here again.
    for (const [receipt, { message, key }] of [...this.copies]) {
      if (!isLast && message.qos === 2) continue
      if (!place(key, message, isLast) && !isLast) continue
      this.settle(receipt)
      if (!isLast) this.recalled.push(receipt)
    }
  }

  /** What the peer is to be told when it is back after all: some of what it must not deliver; undefined: nothing more. */
  nextRecall(): number[] | undefined {
    return this.recalled.length === 0 ? undefined : this.recalled.splice(0, CHUNK_RECEIPTS)
  }
}

function sizeOf({ payloadStart, payloadEnd, properties, topic }: Message): number {
  return payloadEnd - payloadStart + (properties?.length ?? 0) + topic.length + ENTRY_OVERHEAD_BYTES
}
