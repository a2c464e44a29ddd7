/**
 * Retained messages: the last one of each topic, for subscribers that come later [MQTT-3.3.1-5]. This file decides
 * what is kept and what matches; a Replica carries the decisions to the other nodes.
 */

import type { Message } from '../mqtt/wire/message.js'
import type { Counter } from '../telemetry/registry.js'
import type { TimerWheel } from '../util/timer-wheel.js'
import { decodeKept, encodeKept, keptSize } from './kept-message.js'
import type { Keeping, Replica } from './ports.js'
import { RetainedExpiry } from './retained-expiry.js'
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
  private readonly messages = new TopicTree<Message>()
  private byteCount = 0
  private replica: Replica | undefined
  private store: { readonly isFailing: boolean } | undefined
  private expiry: RetainedExpiry | undefined

  constructor(
    private readonly options: RetainedOptions,
    private readonly modules: RetainedModules,
  ) {}

  get size(): number {
    return this.messages.size
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
    const kept = message.detach()
    this.put(kept)
    if (this.replica !== undefined) this.replica.set(message.topic, encodeKept(kept), keeping)
    else if (kept.expiresAt !== 0) this.watch(kept)
  }

  /** Whether a message with the RETAIN flag can be kept, or needs no room; counted when not. */
  admits(message: Message): boolean {
    if (isRemoval(message)) return true
    const { maximum, maximumBytes } = this.options
    const old = this.messages.get(message.topic)
    const isTooMany = old === undefined && this.messages.size >= maximum
    const grown = this.byteCount + keptSize(message) - (old === undefined ? 0 : keptSize(old))
    if (!isTooMany && grown <= maximumBytes) return true
    this.modules.refused[isTooMany ? 'messages' : 'bytes'].value++
    return false
  }

  /** A peer's decision has arrived, or comes from the store. @param value undefined when the topic has no retained message any more. */
  applyReplicated(topic: string, value: Buffer | undefined): void {
    // Whatever the limits: they bind the node where a client publishes, and all nodes have to serve the same.
    if (value === undefined) this.remove(topic)
    else this.put(decodeKept(value))
  }

  /** What a new subscription with this filter gets; expired ones are forgotten on the way. [MQTT-3.3.2-5] */
  *matching(filter: string): Generator<Message | undefined> {
    // Taken one by one over many turns: the tree may change in between, and gives what is there when it gets there.
    for (const message of this.messages.matching(filter)) {
      if (message === undefined || !message.isExpired(Date.now())) yield message
      else if (this.isCurrent(message)) this.expire(message)
    }
  }

  private isCurrent(message: Message): boolean {
    return this.messages.get(message.topic) === message
  }

  private expire({ topic }: Message): void {
    this.remove(topic)
    this.replica?.expire(topic)
  }

  private watch(message: Message): void {
    this.expiry ??= new RetainedExpiry({
      timers: this.modules.timers,
      isCurrent: (one) => this.isCurrent(one),
      onExpired: (one) => this.expire(one),
    })
    this.expiry.add(message)
  }

  private put(message: Message): void {
    const replaced = this.messages.set(message.topic, message)
    this.byteCount += keptSize(message) - (replaced === undefined ? 0 : keptSize(replaced))
  }

  private remove(topic: string): boolean {
    const removed = this.messages.delete(topic)
    if (removed === undefined) return false
    this.byteCount -= keptSize(removed)
    return true
  }
}

function isRemoval(message: Message): boolean {
  return message.payloadStart === message.payloadEnd
}
