/**
 * Retained messages: the last one of each topic, for subscribers that come later [MQTT-3.3.1-5]. This file decides
 * what is kept and what matches; a Replica carries the decisions to the other nodes.
 */

import { decodePublish, decodeTopic, PublishHeader } from '../mqtt/wire/decode.js'
import { Message } from '../mqtt/wire/message.js'
import type { QoS } from '../mqtt/wire/packets.js'
import { readVariableInteger, variableIntegerSize } from '../mqtt/wire/variable-integer.js'
import type { Replica } from './ports.js'
import { TopicTree } from './topic-tree.js'

/** A replicated value: the deadline in milliseconds since the epoch as a double, the QoS as a byte, the frame. */
const QOS_AT = 8
const FRAME_AT = 9

export interface RetainedOptions {
  /** Topics with a retained message at most; further topics are refused and counted. */
  readonly maximum: number
}

export class RetainedMessages {
  private readonly messages = new TopicTree<Message>()
  private replica: Replica | undefined

  constructor(
    private readonly options: RetainedOptions,
    private readonly refused: { value: number },
  ) {}

  get size(): number {
    return this.messages.size
  }

  /** From now on what is kept or removed here goes to the peers too. */
  replicateThrough(replica: Replica): void {
    this.replica = replica
  }

  /** Takes a PUBLISH with the RETAIN flag: an empty payload removes what was there. [MQTT-3.3.1-6], [MQTT-3.3.1-7] */
  keep(message: Message): void {
    if (message.payloadStart === message.payloadEnd) {
      this.messages.delete(message.topic)
      this.replica?.set(message.topic, undefined)
      return
    }
    const kept = message.detach()
    if (!this.put(kept)) return
    this.replica?.set(message.topic, encodeRetained(kept))
  }

  /** A peer's decision has arrived. @param value undefined when the topic has no retained message any more. */
  applyReplicated(topic: string, value: Buffer | undefined): void {
    // Whatever the limit: it binds the node where a client publishes, and all nodes have to serve the same.
    if (value === undefined) this.messages.delete(topic)
    else this.messages.set(topic, decodeRetained(value))
  }

  /** What a new subscription with this filter gets; expired ones are forgotten on the way. [MQTT-3.3.2-5] */
  *matching(filter: string): Generator<Message | undefined> {
    // Taken one by one over many turns: the tree may change in between, and gives what is there when it gets there.
    for (const message of this.messages.matching(filter)) {
      if (message === undefined || !message.isExpired(Date.now())) yield message
      else if (this.messages.get(message.topic) === message) this.expire(message.topic)
    }
  }

  private expire(topic: string): void {
    this.messages.delete(topic)
    this.replica?.expire(topic)
  }

  private put(message: Message): boolean {
    if (this.messages.size >= this.options.maximum && this.messages.get(message.topic) === undefined) {
      this.refused.value++
      return false
    }
    this.messages.set(message.topic, message)
    return true
  }
}

/** Deadline, QoS and the MQTT 5 frame of a message (as QoS 0, which needs no packet id): what peers exchange. */
function encodeRetained(message: Message): Buffer {
  const frame = message.frame(true, 0, true)
  const value = Buffer.allocUnsafe(FRAME_AT + frame.end - frame.start)
  value.writeDoubleBE(message.expiresAt, 0)
  value[QOS_AT] = message.qos
  frame.buffer.copy(value, FRAME_AT, frame.start, frame.end)
  return value
}

/** @throws MqttError when the value is not what `encodeRetained` makes. */
function decodeRetained(value: Buffer): Message {
  const header = new PublishHeader()
  const bodyStart = FRAME_AT + 1 + variableIntegerSize(readVariableInteger(value, FRAME_AT + 1, value.length))
  decodePublish(value, value[FRAME_AT] ?? 0, bodyStart, value.length, true, header)
  const message = new Message({
    topic: decodeTopic(value, header.topicStart, header.topicEnd),
    qos: ((value[QOS_AT] ?? 0) & 3) as QoS,
    retain: true,
    chunk: value,
    payloadStart: header.payloadStart,
    payloadEnd: header.payloadEnd,
    properties: header.properties,
    expiryInterval: 0,
  })
  message.expiresAt = value.readDoubleBE(0)
  return message
}
