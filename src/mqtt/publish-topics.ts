/**
 * The topics of one publisher: its aliases, and the last topic it used. Publishers repeat their topic, and comparing
 * a few bytes is cheaper than looking it up (bench: load, row a1).
 */

import type { MqttOptions } from '../config/options.js'
import { topicLimitProblem } from './capabilities.js'
import { InboundTopicAliases } from './topic-alias.js'
import type { PublishHeader } from './wire/publish-header.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'
import { decodeTopicName, type TopicNames } from './wire/topic-names.js'

export class PublishTopics {
  private aliases: InboundTopicAliases | undefined
  /** Where the last topic is in the names of all publishers. */
  private lastSlot = -1
  private lastTopic = ''

  constructor(
    private readonly aliasMaximum: number,
    private readonly names: TopicNames,
  ) {}

  /** @throws MqttError for a topic name that is not valid, or an alias that is not known. */
  resolve(chunk: Buffer, header: PublishHeader, options: MqttOptions): string {
    const { topicStart, topicEnd, topicAlias } = header
    if (topicAlias === 0) {
      if (topicStart === topicEnd) throw new MqttError(ReasonCode.ProtocolError, 'empty topic without a topic alias')
      return this.decode(chunk, topicStart, topicEnd, options)
    }
    this.aliases ??= new InboundTopicAliases(this.aliasMaximum)
    const topic = topicStart === topicEnd ? '' : this.decode(chunk, topicStart, topicEnd, options)
    return this.aliases.resolve(topicAlias, topic)
  }

  private decode(chunk: Buffer, start: number, end: number, options: MqttOptions): string {
    const { names } = this
    if (names.isAt(this.lastSlot, chunk, start, end)) return this.lastTopic
    const slot = names.slotOf(chunk, start, end)
    const topic = slot === -1 ? decodeTopicName(chunk, start, end) : names.nameAt(slot)
    const problem = topicLimitProblem(topic, options)
    if (problem !== undefined) throw new MqttError(ReasonCode.TopicNameInvalid, problem)
    this.lastSlot = slot
    this.lastTopic = topic
    return topic
  }
}
