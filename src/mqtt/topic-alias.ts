/** The topic names that a client has given a number to, on one connection. [MQTT 5.0 section 3.3.2.3.4] */

import { MqttError, ReasonCode } from './wire/reason-codes.js'

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
