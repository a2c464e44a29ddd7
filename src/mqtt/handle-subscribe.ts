/** SUBSCRIBE and UNSUBSCRIBE. The answers wait for the host; retained messages follow the SUBACK. */

import type { Connection } from './connection.js'
import type { SubscribePacket, UnsubscribePacket } from './wire/packets.js'

export function handleSubscribe(connection: Connection, packet: SubscribePacket): void {
  connection.beginSuback()
  connection.host.subscribe(connection, packet.subscriptions, (granted) => {
    if (connection.state !== 'open') return
    const reasonCodes = granted.map(({ reasonCode }) => reasonCode) // [MQTT-3.8.4-1], [MQTT-3.8.4-6]
    connection.send({ cmd: 'suback', packetId: packet.packetId, reasonCodes, properties: {} })
    connection.host.subscribed(connection, granted)
    connection.endSuback()
  })
}

export function handleUnsubscribe(connection: Connection, packet: UnsubscribePacket): void {
  connection.host.unsubscribe(connection, packet.topicFilters, (reasonCodes) => {
    if (connection.state !== 'open') return
    // [MQTT-3.10.4-4], [MQTT-3.11.3-1]
    connection.send({ cmd: 'unsuback', packetId: packet.packetId, reasonCodes, properties: {} })
  })
}
