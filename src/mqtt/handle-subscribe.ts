/** SUBSCRIBE and UNSUBSCRIBE. The answers wait for the host; retained messages follow the SUBACK. */

import { subscriptionProblem } from './capabilities.js'
import type { Connection } from './connection.js'
import type { Grant } from './host.js'
import { subscriptionRefusalOf } from './refusals.js'
import type { SubscribePacket, UnsubscribePacket } from './wire/packets.js'
import { ReasonCode, reasonName } from './wire/reason-codes.js'

/** Of a topic filter that a Reason String names, in UTF-16 units. */
const SHOWN_FILTER_LENGTH = 200

/** @throws MqttError for a kind of subscription that the client was told not to ask for. */
export function handleSubscribe(connection: Connection, packet: SubscribePacket): void {
  if (connection.isV5) checkCapabilities(connection, packet)
  connection.input.beginSuback()
  connection.host.subscribe(connection, packet.subscriptions, (granted) => {
    if (connection.state !== 'open') return
    const reasonCodes = granted.map(({ reasonCode }) => reasonCode) // [MQTT-3.8.4-1], [MQTT-3.8.4-6]
    const properties = connection.output.problem(refusalText(connection, granted))
    connection.output.send({ cmd: 'suback', packetId: packet.packetId, reasonCodes, properties })
    // A SUBACK that is too large for its client has ended the connection.
    if (connection.state !== 'open') return
    connection.host.subscribed(connection, granted)
    connection.input.endSuback()
  })
}

export function handleUnsubscribe(connection: Connection, packet: UnsubscribePacket): void {
  connection.host.unsubscribe(connection, packet.topicFilters, (reasonCodes) => {
    if (connection.state !== 'open') return
    // [MQTT-3.10.4-4], [MQTT-3.11.3-1]
    const isInvalid = reasonCodes.includes(ReasonCode.TopicFilterInvalid)
    const properties = connection.output.problem(isInvalid ? 'not a topic filter' : undefined)
    connection.output.send({ cmd: 'unsuback', packetId: packet.packetId, reasonCodes, properties })
  })
}

function checkCapabilities(connection: Connection, packet: SubscribePacket): void {
  const { options } = connection
  const { metrics } = connection.host.modules
  for (const request of packet.subscriptions) {
    const problem = subscriptionProblem(request, options)
    if (problem === undefined) continue
    metrics.subscriptionsRefused.not_supported.value++
    throw problem
  }
}

/** Counts what was refused, and says why of the first: a SUBACK has one Reason String for all its filters. */
function refusalText(connection: Connection, granted: readonly Grant[]): string | undefined {
  let text: string | undefined
  for (const { reasonCode, reason, topicFilter } of granted) {
    if (reasonCode < ReasonCode.UnspecifiedError) continue
    connection.host.modules.metrics.subscriptionsRefused[subscriptionRefusalOf(reasonCode)].value++
    text ??= `${topicFilter.slice(0, SHOWN_FILTER_LENGTH)}: ${reason ?? reasonName(reasonCode)}`
  }
  return text
}
