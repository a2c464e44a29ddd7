/**
 * PUBLISH from a client: the hot path. A QoS 0 message goes through here without a promise, a closure or a copy.
 *
 * The steps are those of the specification: the topic (name or alias), the quota (Receive Maximum), the rights,
 * then the host's publish; and when the message is kept everywhere it has to be, the acknowledgement.
 */

import { payloadRefusalOf, publishProblem } from './capabilities.js'
import { closeReasonOf } from './close-reason.js'
import type { Connection } from './connection.js'
import { isDelayed, readDelay } from './delay.js'
import type { InboundAck } from './inbound-acks.js'
import { HoldReason } from './input.js'
import { PUBLISH_REFUSAL_TEXTS, type PublishRefusal, publishRefusalOf } from './refusals.js'
import { decodePublish } from './wire/decode.js'
import { Frame, Message } from './wire/message.js'
import type { QoS } from './wire/packets.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'

const DOLLAR = 0x24

/** @throws MqttError when the packet breaks the protocol; the connection ends with its reason code. */
export function handlePublish(
  connection: Connection,
  chunk: Buffer,
  firstByte: number,
  start: number,
  bodyStart: number,
  end: number,
): void {
  const { options } = connection
  const { modules } = connection.host
  const header = modules.publishHeader
  decodePublish(chunk, firstByte, bodyStart, end, connection.isV5, header)
  const { qos } = header
  if (qos > options.maximumQos || (header.retain && !options.retainAvailable)) throw publishProblem(qos, options)
  const name = connection.topics.resolve(chunk, header, options)
  const delayed = name.charCodeAt(0) === DOLLAR && isDelayed(name) ? readDelay(name) : undefined
  const topic = delayed === undefined ? name : delayed.topic
  const message = new Message(
    {
      topic,
      qos,
      retain: header.retain,
      chunk,
      payloadStart: header.payloadStart,
      payloadEnd: header.payloadEnd,
      properties: header.properties,
      expiryInterval: header.expiryInterval,
    },
    connection.clientId,
  )
  if (delayed !== undefined) message.delay = delayed.delay
  modules.metrics.messagesReceived[qos].value++
  if (!header.duplicate && header.topicAlias === 0 && delayed === undefined) {
    message.adopt(connection.isV5, new Frame(chunk, start, end, qos === 0 ? -1 : header.topicEnd))
  }
  if (qos === 0) {
    if (isDenied(connection, topic, qos, header.retain)) deny(connection, undefined)
    else if (connection.host.isPublishGuarded) publishGuarded(connection, message, undefined)
    else publish(connection, message, undefined)
    return
  }
  publishAcknowledged(connection, message, qos, header.packetId)
}

/** QoS 1 and 2: from here on an acknowledgement is owed. */
function publishAcknowledged(connection: Connection, message: Message, qos: 1 | 2, packetId: number): void {
  const { options } = connection
  const { metrics } = connection.host.modules
  const session = connection.session
  if (session === undefined) throw new Error('an open connection has a session')
  const acks = connection.inboundAcks
  const first = qos === 2 ? session.inboundQos2.get(packetId) : undefined
  if (first !== undefined && (connection.isV5 || !first.isRefused)) {
    // Taken already: it is acknowledged again, when the first one is, and not delivered again. [MQTT-4.3.3-10]
    metrics.publishesRefused.duplicate_qos2.value++
    checkQuota(connection, acks.length)
    const again = acks.begin(packetId, qos)
    // Some may have it: who has lost the connection before the answer is given that, which ends the exchange.
    if (first.isRefused) again.refuse()
    first.addFollower(again)
    again.release()
    if (!connection.isV5 && acks.length >= options.receiveMaximum) connection.input.holdFor(HoldReason.Acks)
    return
  }
  // A QoS 2 id counts until PUBREL, and its PUBREC as long as it is owed, whatever the client releases early.
  checkQuota(connection, Math.max(acks.length, acks.qos1Count + session.inboundQos2Count))
  const ack = acks.begin(packetId, qos)
  if (qos === 2) ack.isRemembered = session.isKept
  if (isDenied(connection, message.topic, qos, message.retain)) deny(connection, ack)
  else if (connection.host.isPublishGuarded) publishGuarded(connection, message, ack)
  else publish(connection, message, ack)
  if (!connection.isV5 && acks.length >= options.receiveMaximum) connection.input.holdFor(HoldReason.Acks)
}

/**
 * A client must not have more unacknowledged than it was told [MQTT-3.3.4-7]. Before MQTT 5 it was not told: it is
 * read no further while it is owed that many acknowledgements (`HoldReason.Acks`), and the QoS 2 ids that it has not
 * released are bounded by their number, 65,535.
 */
function checkQuota(connection: Connection, unacknowledged: number): void {
  const { receiveMaximum } = connection.options
  if (!connection.isV5 || unacknowledged < receiveMaximum) return
  connection.host.modules.metrics.publishesRefused.quota_exceeded.value++
  throw new MqttError(ReasonCode.ReceiveMaximumExceeded, `more than ${receiveMaximum} messages without acknowledgement`)
}

/** One property where nobody's rights are limited; one comparison for a publisher that stays with its topic. */
function isDenied(connection: Connection, topic: string, qos: QoS, retain: boolean): boolean {
  const { rights } = connection
  return rights !== undefined && !rights.mayPublish(topic, qos, retain)
}

/** A client before MQTT 5 cannot be told: its message is acknowledged and dropped, unless clients are closed for it. */
function deny(connection: Connection, ack: InboundAck | undefined): void {
  connection.host.modules.metrics.publishesRefused.access_denied.value++
  if (connection.rights?.closesWhenDenied) return connection.close('not_authorized', ReasonCode.NotAuthorized)
  if (ack === undefined) return
  ack.reasonCode = ReasonCode.NotAuthorized
  ack.reasonString = PUBLISH_REFUSAL_TEXTS.access_denied
  ack.release()
}

function publish(connection: Connection, message: Message, ack: InboundAck | undefined): void {
  const problem = payloadRefusalOf(message, connection.options)
  if (problem !== undefined) {
    const reasonCode = problem === 'payload_format' ? ReasonCode.PayloadFormatInvalid : ReasonCode.QuotaExceeded
    return refuse(connection, ack, reasonCode, problem)
  }
  const reasonCode = connection.host.publish(connection, message, ack)
  if (reasonCode >= ReasonCode.UnspecifiedError) {
    return refuse(connection, ack, reasonCode, publishRefusalOf(reasonCode, message.delay !== 0))
  }
  if (ack === undefined) return
  // Remembered only from here on: a message that was refused, or whose connection broke before it was authorized, was
  // not taken, and must be when it comes again.
  if (ack.qos === 2) connection.session?.addReceived(ack.packetId, ack)
  ack.reasonCode = reasonCode
  ack.release()
}

/** With an authorization hook in the way the rest may come later; the packets behind wait, to keep their order. */
function publishGuarded(connection: Connection, message: Message, ack: InboundAck | undefined): void {
  connection.holdInput()
  connection.host.authorizePublish(connection, message, (reasonCode, allowed) => {
    if (connection.state !== 'open') return
    if (reasonCode === ReasonCode.Success) publish(connection, allowed, ack)
    else refuse(connection, ack, reasonCode, publishRefusalOf(reasonCode))
    connection.proceed()
  })
}

/**
 * [MQTT-3.3.5-2] of 3.1.1 leaves only closing; in 5.0 the acknowledgement says so. QoS 0 is dropped, save that a client
 * before MQTT 5 learns in no other way that it is not authorized.
 */
function refuse(
  connection: Connection,
  ack: InboundAck | undefined,
  reasonCode: number,
  refusal: PublishRefusal,
): void {
  connection.host.modules.metrics.publishesRefused[refusal].value++
  // In MQTT 3.1 what its client has no right to publish is acknowledged all the same. [MQTT 3.1 section 3.3]
  if (connection.version === 3 && refusal === 'not_authorized') return ack?.release()
  if (!connection.isV5) {
    if (ack !== undefined || refusal === 'not_authorized') connection.close(closeReasonOf(reasonCode))
    return
  }
  if (ack === undefined) return
  ack.reasonCode = reasonCode
  ack.reasonString = PUBLISH_REFUSAL_TEXTS[refusal]
  ack.release()
}
