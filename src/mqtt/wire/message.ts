/**
 * A Message is one application message on its way through this node, from the PUBLISH that brought it to every
 * session and peer that wants it. It is encoded at most once per variant (protocol version, QoS, retain), however
 * many subscribers share that variant, and a QoS 0 message that needs no change keeps the bytes it came in.
 */

import type { PublishProperties, QoS } from './packets.js'
import { encodePublish, encodePublishProperties, type Frame } from './publish-frame.js'

import { EXPIRES_AT_ONCE_SECONDS } from './publish-header.js'

export { Frame } from './publish-frame.js'

/** Everything a Message is made of; offsets are into `chunk`. */
export interface MessageParts {
  topic: string
  qos: QoS
  retain: boolean
  /** The buffer that holds the payload, and the whole frame when `frame` is given. */
  chunk: Buffer
  payloadStart: number
  payloadEnd: number
  /**
   * The encoded MQTT 5 properties that go on to subscribers, without the length prefix and without Topic Alias and
   * Subscription Identifiers; undefined when there are none.
   */
  properties: Buffer | undefined
  /** Seconds, 0 when the publisher gave none. [MQTT 5.0 section 3.3.2.3.3] */
  expiryInterval: number
}

/** Number of variants: two protocol families (3.x, 5.0), three QoS, retain or not. */
const VARIANTS = 12

export class Message {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  readonly chunk: Buffer
  readonly payloadStart: number
  readonly payloadEnd: number
  readonly properties: Buffer | undefined
  /** Milliseconds since the epoch after which the message must not be delivered any more; 0: never. [MQTT-3.3.2-5] */
  expiresAt: number
  /** The client ID of the publisher; '' when the broker itself or an embedder publishes. */
  publisherId: string
  /** It was on its way for a while, here or on another node: an expiry interval has shrunk since. [MQTT-3.3.2-6] */
  isAged = false
  /** Seconds to wait before it is published, see `mqtt/delay.ts`; 0 for all others and once it is published. */
  delay = 0
  /** Most messages have no other frame than the one they came in. */
  private adopted: Frame | undefined
  private adoptedIndex = -1
  private variants: (Frame | undefined)[] | undefined
  private detached: Message | undefined

  constructor(parts: MessageParts, publisherId = '') {
    this.topic = parts.topic
    this.qos = parts.qos
    this.retain = parts.retain
    this.chunk = parts.chunk
    this.payloadStart = parts.payloadStart
    this.payloadEnd = parts.payloadEnd
    this.properties = parts.properties
    this.expiresAt = parts.expiryInterval === 0 ? 0 : Date.now() + parts.expiryInterval * 1000
    this.publisherId = publisherId
    this.adopted = undefined
    this.variants = undefined
    this.detached = undefined
  }

  /** Makes a message from plain values, for wills, embedders and `$SYS`. Copies nothing. */
  static from(
    topic: string,
    payload: Buffer,
    options: { qos?: QoS; retain?: boolean; properties?: PublishProperties; publisherId?: string } = {},
  ): Message {
    const properties = options.properties
    return new Message(
      {
        topic,
        qos: options.qos ?? 0,
        retain: options.retain ?? false,
        chunk: payload,
        payloadStart: 0,
        payloadEnd: payload.length,
        properties: properties === undefined ? undefined : encodePublishProperties(properties),
        expiryInterval:
          properties?.messageExpiryInterval === 0 ? EXPIRES_AT_ONCE_SECONDS : (properties?.messageExpiryInterval ?? 0),
      },
      options.publisherId,
    )
  }

  /** The payload as a view, not a copy. */
  get payload(): Buffer {
    return this.chunk.subarray(this.payloadStart, this.payloadEnd)
  }

  isExpired(now: number): boolean {
    return this.expiresAt !== 0 && now >= this.expiresAt
  }

  /**
   * Says that the bytes this message came in are already the frame of the variant that has its own QoS and RETAIN.
   * Only for a frame that would be sent on unchanged but for its packet id: no DUP, no Topic Alias.
   */
  adopt(isV5: boolean, frame: Frame): void {
    this.adopted = frame
    this.adoptedIndex = variantIndex(isV5, this.qos, this.retain)
  }

  /** Whether the frame of this variant is there already. */
  hasFrame(isV5: boolean, qos: QoS, retain: boolean): boolean {
    const index = variantIndex(isV5, qos, retain)
    return index === this.adoptedIndex || this.variants?.[index] !== undefined
  }

  /**
   * The encoded PUBLISH for this variant, made on first use and shared by all its receivers. Its packet id bytes
   * (at `packetIdOffset`, for QoS 1 and 2) are nobody's: the outbox writes each receiver's own into its copy.
   */
  frame(isV5: boolean, qos: QoS, retain: boolean): Frame {
    const index = variantIndex(isV5, qos, retain)
    if (index === this.adoptedIndex) return this.adopted as Frame
    this.variants ??= new Array<Frame | undefined>(VARIANTS)
    const known = this.variants[index]
    if (known !== undefined) return known
    const made = encodePublish(this, isV5, qos, retain, undefined, -1)
    this.variants[index] = made
    return made
  }

  /**
   * A PUBLISH made for one receiver: with its Subscription Identifiers [MQTT-3.3.4-3], or with the expiry interval
   * reduced by the time the message has waited here [MQTT-3.3.2-6]. Not cached.
   */
  frameFor(qos: QoS, retain: boolean, subscriptionIds: readonly number[] | undefined, now: number): Frame {
    const remaining = this.expiresAt === 0 ? -1 : Math.max(0, Math.ceil((this.expiresAt - now) / 1000))
    return encodePublish(this, true, qos, retain, subscriptionIds, remaining)
  }

  /**
   * The same message in bytes of its own. Whatever outlives the turn it came in (queued, in flight, retained)
   * must be detached: a slice of a received chunk would keep 64 KiB alive. All who keep it share one copy.
   */
  detach(): Message {
    if (this.detached !== undefined) return this.detached
    const propertyBytes = this.properties?.length ?? 0
    const size = propertyBytes + this.payloadEnd - this.payloadStart
    // One allocation for both, and not from Buffer's pool, which would keep 8 KiB alive in its turn.
    const chunk = Buffer.allocUnsafeSlow(size)
    this.properties?.copy(chunk)
    this.chunk.copy(chunk, propertyBytes, this.payloadStart, this.payloadEnd)
    const copy = new Message(
      {
        topic: this.topic,
        qos: this.qos,
        retain: this.retain,
        chunk,
        payloadStart: propertyBytes,
        payloadEnd: size,
        properties: this.properties === undefined ? undefined : chunk.subarray(0, propertyBytes),
        expiryInterval: 0,
      },
      this.publisherId,
    )
    // The deadline counts from the arrival, not from the copy.
    copy.expiresAt = this.expiresAt
    copy.isAged = this.isAged
    copy.detached = copy
    this.detached = copy
    return copy
  }
}

function variantIndex(isV5: boolean, qos: QoS, retain: boolean): number {
  return (isV5 ? 6 : 0) + qos * 2 + (retain ? 1 : 0)
}
