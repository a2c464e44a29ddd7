/** PUBACK, PUBREC, PUBREL and PUBCOMP from a client. [MQTT 5.0 sections 3.4 to 3.7, 4.3] */

import type { Connection } from './connection.js'
import type { AckPacket } from './wire/packets.js'
import { ReasonCode } from './wire/reason-codes.js'

/**
 * The client has a QoS 1 message. An id that no such message has is ignored: it may be an answer from before a restart.
 */
export function handlePuback(connection: Connection, packet: AckPacket): void {
  const acknowledged = connection.session?.acknowledge(packet.packetId)
  if (acknowledged !== undefined) connection.host.acknowledged(connection, acknowledged)
}

/** The client has received a QoS 2 message: PUBREL follows, also when the id is unknown. [MQTT-4.3.3-5] */
export function handlePubrec(connection: Connection, packet: AckPacket): void {
  if (connection.session?.markReceived(packet.packetId, packet.reasonCode)) return
  if (packet.reasonCode >= ReasonCode.UnspecifiedError) return
  if (connection.isV5) {
    connection.output.send({
      cmd: 'pubrel',
      packetId: packet.packetId,
      reasonCode: ReasonCode.PacketIdentifierNotFound,
      properties: connection.output.problem('the packet id is not in flight'),
    })
  } else {
    connection.output.sendPubrel(packet.packetId)
  }
}

/** The client has let go of a QoS 2 message that it published: its id is free again. [MQTT-4.3.3-11] */
export function handlePubrel(connection: Connection, packet: AckPacket): void {
  const { session } = connection
  const isKnown = session?.inboundQos2.release(packet.packetId) ?? false
  const reasonCode = isKnown ? ReasonCode.Success : ReasonCode.PacketIdentifierNotFound
  if (session?.completeWhenKept(packet.packetId, reasonCode) === true) return
  connection.output.sendPubcomp(packet.packetId, reasonCode)
}

/** The end of a QoS 2 delivery. */
export function handlePubcomp(connection: Connection, packet: AckPacket): void {
  const acknowledged = connection.session?.complete(packet.packetId)
  if (acknowledged !== undefined) connection.host.acknowledged(connection, acknowledged)
}
