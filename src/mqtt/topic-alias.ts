/** Numbers that stand for topic names, in both directions of one connection. [MQTT 5.0 section 3.3.2.3.4] */

import { type Frame, TOPIC_ALIAS_GROWTH_BYTES, withTopicAlias } from './wire/publish-frame.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'

/** A larger message goes as it is: making it again would cost more than the topic name in it. */
const ALIASED_BYTES_MAXIMUM = 4_096
/** A topic name shorter than this is not worth an alias, which takes three bytes itself. */
const ALIASED_TOPIC_MINIMUM = 8

/** The topic names that a client has given a number to. */
export class InboundTopicAliases {
  private readonly topics = new Map<number, string>()

  /** @param maximum the Topic Alias Maximum that the client was told; 0 allows none. */
  constructor(private readonly maximum: number) {}

  /**
   * The topic of a PUBLISH that carries an alias; a topic that comes with it is remembered.
   * @throws MqttError for an alias above the maximum [MQTT-3.3.2-9], or one that was never set.
   */
  resolve(alias: number, topic: string): string {
    if (alias > this.maximum) {
      throw new MqttError(ReasonCode.TopicAliasInvalid, `topic alias ${alias} is above the maximum of ${this.maximum}`)
    }
    if (topic !== '') {
      this.topics.set(alias, topic)
      return topic
    }
    const known = this.topics.get(alias)
    if (known === undefined) {
      throw new MqttError(ReasonCode.ProtocolError, `topic alias ${alias} was not set on this connection`)
    }
    return known
  }
}

/**
 * The topic names that we have given a number to, for a client that allows it. A topic gets one when it is sent for
 * the second time, so that topics that come once cost nothing; when all are given, the one that was used least
 * recently passes on. Asked for what is written, in the order of writing, so a number never goes out before its
 * meaning.
 */
export class OutboundTopicAliases {
  /** Least recently used first. */
  private readonly aliases = new Map<string, number>()
  /** Topics that were sent once, oldest first; as many as there are aliases. */
  private readonly candidates = new Set<string>()

  /**
   * @param maximum aliases, within the client's Topic Alias Maximum [MQTT-3.1.2-26]
   * @param maximumPacketSize what the client accepts, in bytes
   */
  constructor(
    private readonly maximum: number,
    private readonly maximumPacketSize: number,
  ) {}

  /** The frame as it is, or made anew with an alias; `topic` is the one in it. */
  apply(frame: Frame, topic: string): Frame {
    const size = frame.end - frame.start
    if (topic.length < ALIASED_TOPIC_MINIMUM || size > ALIASED_BYTES_MAXIMUM) return frame
    const known = this.aliases.get(topic)
    if (known !== undefined) {
      this.aliases.delete(topic)
      this.aliases.set(topic, known)
      return withTopicAlias(frame, known, false)
    }
    if (size + TOPIC_ALIAS_GROWTH_BYTES > this.maximumPacketSize || !this.isKnown(topic)) return frame
    const alias = this.takeAlias()
    this.aliases.set(topic, alias)
    return withTopicAlias(frame, alias, true)
  }

  /** Whether this topic was sent before; remembers it when not. */
  private isKnown(topic: string): boolean {
    if (this.candidates.delete(topic)) return true
    if (this.candidates.size >= this.maximum) {
      const [oldest] = this.candidates
      if (oldest !== undefined) this.candidates.delete(oldest)
    }
    this.candidates.add(topic)
    return false
  }

  private takeAlias(): number {
    const [oldest] = this.aliases
    if (oldest === undefined || this.aliases.size < this.maximum) return this.aliases.size + 1
    this.aliases.delete(oldest[0])
    return oldest[1]
  }
}
