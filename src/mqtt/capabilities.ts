/**
 * What this node offers of MQTT, as configured: said in CONNACK where it differs from what the protocol takes for
 * granted, and held against the clients that ask for more. [MQTT 5.0 section 3.2.2.3]
 */

import { isUtf8 } from 'node:buffer'
import type { MqttOptions } from '../config/options.js'
import type { Message } from './wire/message.js'
import type { ConnackProperties, SubscriptionRequest, Will } from './wire/packets.js'
import { payloadFormatOf } from './wire/publish-frame.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'
import { isShared, isWildcard, levelCount, parseShared } from './wire/topic.js'

/** What a client may have unacknowledged when it is told nothing. [MQTT 5.0 section 3.2.2.3.3] */
const PROTOCOL_RECEIVE_MAXIMUM = 65_535

/** The properties of CONNACK that are the same for every client; a default of the protocol is not said. */
export function capabilityProperties(options: MqttOptions): ConnackProperties {
  const { receiveMaximum, maximumQos, topicAliasMaximum } = options
  // No option for packets goes as far as the protocol does, so this one always differs.
  const properties: ConnackProperties = { maximumPacketSize: options.maximumPacketSize }
  if (receiveMaximum !== PROTOCOL_RECEIVE_MAXIMUM) properties.receiveMaximum = receiveMaximum
  if (maximumQos < 2) properties.maximumQoS = maximumQos as 0 | 1
  if (!options.retainAvailable) properties.retainAvailable = false
  if (topicAliasMaximum !== 0) properties.topicAliasMaximum = topicAliasMaximum
  if (!options.wildcardSubscriptions) properties.wildcardSubscriptionAvailable = false
  if (!options.subscriptionIdentifiers) properties.subscriptionIdentifiersAvailable = false
  if (!options.sharedSubscriptions) properties.sharedSubscriptionAvailable = false
  return properties
}

/** Why a CONNECT with this will has to be refused. [MQTT-3.2.2-12], [MQTT-3.2.2-13] */
export function willProblem(
  { topic, payload, qos, retain, properties }: Will,
  options: MqttOptions,
): MqttError | undefined {
  if (qos > options.maximumQos) return new MqttError(ReasonCode.QoSNotSupported, qosText(options))
  if (retain && !options.retainAvailable) return new MqttError(ReasonCode.RetainNotSupported, RETAIN_TEXT)
  const problem = topicLimitProblem(topic, options)
  if (problem !== undefined) return new MqttError(ReasonCode.TopicNameInvalid, `Will Topic: ${problem}`)
  if (options.maximumPayload !== 0 && payload.length > options.maximumPayload) {
    return new MqttError(ReasonCode.QuotaExceeded, `the will has more than ${options.maximumPayload} bytes`)
  }
  if (options.checkPayloadFormat && properties.payloadFormatIndicator === 1 && !isUtf8(payload)) {
    return new MqttError(ReasonCode.PayloadFormatInvalid, 'the payload of the will is not UTF-8, as it says')
  }
  return undefined
}

/** Why this payload is not accepted; undefined when it is. [MQTT 5.0 section 3.3.2.3.2] */
export function payloadRefusalOf(
  message: Message,
  options: MqttOptions,
): 'payload_too_large' | 'payload_format' | undefined {
  const { maximumPayload, checkPayloadFormat } = options
  if (maximumPayload !== 0 && message.payloadEnd - message.payloadStart > maximumPayload) return 'payload_too_large'
  if (checkPayloadFormat && payloadFormatOf(message.properties) === 1 && !isUtf8(message.payload))
    return 'payload_format'
  return undefined
}

/** What a PUBLISH that asks for more than there is ends its connection with. [MQTT 5.0 sections 3.2.2.3.4, 3.2.2.3.5] */
export function publishProblem(qos: number, options: MqttOptions): MqttError {
  return qos > options.maximumQos
    ? new MqttError(ReasonCode.QoSNotSupported, qosText(options))
    : new MqttError(ReasonCode.RetainNotSupported, RETAIN_TEXT)
}

/**
 * The kind of subscription that is asked for and not offered. An MQTT 5 client was told, so that this is a protocol
 * error that ends its connection [MQTT-4.13.1-1]; an earlier one gets its SUBACK.
 */
export function subscriptionProblem(
  { topicFilter, options: asked }: SubscriptionRequest,
  options: MqttOptions,
): MqttError | undefined {
  const { SharedSubscriptionsNotSupported, WildcardSubscriptionsNotSupported } = ReasonCode
  if (!options.sharedSubscriptions && isShared(topicFilter)) {
    return new MqttError(SharedSubscriptionsNotSupported, 'shared subscriptions are not available')
  }
  if (!options.wildcardSubscriptions && isWildcard(parseShared(topicFilter)?.filter ?? topicFilter)) {
    return new MqttError(WildcardSubscriptionsNotSupported, 'wildcard subscriptions are not available')
  }
  if (!options.subscriptionIdentifiers && asked.subscriptionId !== undefined) {
    return new MqttError(ReasonCode.SubscriptionIdentifiersNotSupported, 'subscription identifiers are not available')
  }
  return undefined
}

/** Says which limit a topic name or filter exceeds, undefined when none. */
export function topicLimitProblem(topic: string, options: MqttOptions): string | undefined {
  const { maximumTopicLength, maximumTopicLevels } = options
  // A UTF-16 unit takes at most three bytes, so short ones need no counting.
  if (topic.length * 3 > maximumTopicLength && Buffer.byteLength(topic) > maximumTopicLength) {
    return `more than ${maximumTopicLength} bytes`
  }
  if (levelCount(topic) > maximumTopicLevels) return `more than ${maximumTopicLevels} topic levels`
  return undefined
}

const RETAIN_TEXT = 'retained messages are not available'

function qosText({ maximumQos }: MqttOptions): string {
  return `no more than QoS ${maximumQos} is available`
}
