/**
 * Retained messages: the last one of each topic, for subscribers that come later [MQTT-3.3.1-5]. This file decides
 * what is kept and what matches; a Replica carries the decisions to the other nodes, and has the messages. Here is no
 * more of one than its topic in a tree and its size: a message is made of its bytes when a subscriber gets it.
 */

import type { Message } from '../mqtt/wire/message.js'
import type { Counter } from '../telemetry/registry.js'
import { ByteMap } from '../util/byte-map.js'
import type { TimerWheel } from '../util/timer-wheel.js'
import { decodeKept, encodedSize, encodeKept, keptSize } from './kept-message.js'
import type { Keeping, Replica } from './ports.js'
import { retainedDeadline } from './retained-deadline.js'
import { type Ending, RetainedExpiry } from './retained-expiry.js'
import { TopicTree } from './topic-tree.js'

/** Why a message was not kept. */
export const RETAINED_REFUSALS = ['messages', 'bytes'] as const

export type RetainedRefusal = (typeof RETAINED_REFUSALS)[number]

export interface RetainedOptions {
  /** Topics with a retained message at most; further topics are refused and counted. */
  readonly maximum: number
  /** Bytes of topic names, payloads and properties at most; what would exceed them is refused and counted. */
  readonly maximumBytes: number
}

export interface RetainedModules {
  readonly refused: Record<RetainedRefusal, Counter>
  readonly timers: TimerWheel
}

export class RetainedMessages {
  /** With the size of each, as it counts for the limit. */
  private readonly topics = new TopicTree<number>()
  /** What no replica has: all of a node without one, and what is too large for the peers. */
  private readonly own = new ByteMap()
  private byteCount = 0
  private replica: Replica | undefined
  private store: { readonly isFailing: boolean } | undefined
  private expiry: RetainedExpiry | undefined

  constructor(
    private readonly options: RetainedOptions,
    private readonly modules: RetainedModules,
  ) {}

  get size(): number {
    return this.topics.size
  }

  /** Of topic names, payloads and properties. */
  get bytes(): number {
    return this.byteCount
  }

  /** From now on what is kept or removed here goes to the peers too, and to the store behind the replica. */
  replicateThrough(replica: Replica, store?: { readonly isFailing: boolean }): void {
    this.replica = replica
    this.store = store
  }

  /** False while the store cannot keep what it is given; what removes a message may make room. */
  canStore(message: Message): boolean {
    return this.store?.isFailing !== true || isRemoval(message)
  }

  /**
   * Takes a PUBLISH with the RETAIN flag: an empty payload removes what was there. [MQTT-3.3.1-6], [MQTT-3.3.1-7]
   * @param keeping is held until the store has it, where there is one
   */
  keep(message: Message, keeping?: Keeping): void {
    if (isRemoval(message)) {
      this.remove(message.topic)
      this.replica?.set(message.topic, undefined, keeping)
      return
    }
    if (!this.admits(message)) {
      // What there is was replaced by a message that is not there: the topic has none. [MQTT-3.3.1-5]
      if (this.remove(message.topic)) this.replica?.set(message.topic, undefined, keeping)
      return
    }
    const { topic, expiresAt } = message
    const value = encodeKept(message)
    this.put(topic, keptSize(message))
    if (this.replica?.set(topic, value, keeping) === true) {
      this.disown(topic)
      return
    }
    this.own.set(topic, value)
    if (expiresAt !== 0) this.watch({ topic, expiresAt })
  }

  /** Whether a message with the RETAIN flag can be kept, or needs no room; counted when not. */
  admits(message: Message): boolean {
    if (isRemoval(message)) return true
    const { maximum, maximumBytes } = this.options
    const old = this.topics.get(message.topic)
    const isTooMany = old === undefined && this.topics.size >= maximum
    const grown = this.byteCount + keptSize(message) - (old ?? 0)
    if (!isTooMany && grown <= maximumBytes) return true
    this.modules.refused[isTooMany ? 'messages' : 'bytes'].value++
    return false
  }

  /** A peer's decision has arrived, or comes from the store; the replica has it. @param value undefined when the topic has no retained message any more. */
  applyReplicated(topic: string, value: Buffer | undefined): void {
    // Whatever the limits: they bind the node where a client publishes, and all nodes have to serve the same.
    if (value === undefined) this.remove(topic)
    else {
      this.disown(topic)
      this.put(topic, encodedSize(value))
    }
  }

  /** What a new subscription with this filter gets; expired ones are forgotten on the way. [MQTT-3.3.2-5] */
  *matching(filter: string): Generator<Message | undefined> {
    // Taken one by one over many turns: the tree may change in between, and gives what is there when it gets there.
    for (const topic of this.topics.matching(filter)) {
      const value = topic === undefined ? undefined : this.valueOf(topic)
      const message = value && decodeKept(value)
      if (message?.isExpired(Date.now()) === true) this.expire(message.topic)
      else if (topic === undefined || message !== undefined) yield message
    }
  }

  /** In bytes of its own. */
  private valueOf(topic: string): Buffer | undefined {
    const own = this.own.size === 0 ? undefined : this.own.get(topic)
    return own === undefined ? this.replica?.get(topic) : Buffer.from(own)
  }

  private expire(topic: string): void {
    this.remove(topic)
    this.replica?.expire(topic)
  }

  private watch(ending: Ending): void {
    this.expiry ??= new RetainedExpiry({
      timers: this.modules.timers,
      isCurrent: ({ topic, expiresAt }) => {
        const value = this.own.get(topic)
        return value !== undefined && retainedDeadline(value) === expiresAt
      },
      onExpired: (topic) => this.expire(topic),
    })
    this.expiry.add(ending)
  }

  private put(topic: string, size: number): void {
    this.byteCount += size - (this.topics.set(topic, size) ?? 0)
  }

  private remove(topic: string): boolean {
    const removed = this.topics.delete(topic)
    if (removed === undefined) return false
    this.disown(topic)
    this.byteCount -= removed
    return true
  }

  private disown(topic: string): void {
    if (this.own.size > 0) this.own.delete(topic)
  }
}

function isRemoval(message: Message): boolean {
  return message.payloadStart === message.payloadEnd
}
