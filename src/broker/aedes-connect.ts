/** CONNECT in the shape of Aedes' packets, for `preConnect`, and what that hook has made of it. */

import type { ConnectPacket as AedesConnectPacket } from 'aedes'
import type { Connection } from '../mqtt/connection.js'
import type { ConnectPacket, QoS, Will } from '../mqtt/wire/packets.js'
import { publishProblem } from './aedes-packets.js'

export function toAedesConnect(packet: ConnectPacket): AedesConnectPacket {
  const connect: AedesConnectPacket = {
    cmd: 'connect',
    clientId: packet.clientId,
    protocolId: packet.protocolVersion === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: packet.protocolVersion,
    clean: packet.cleanStart,
    keepalive: packet.keepAlive,
  }
  if (packet.username !== undefined) connect.username = packet.username
  if (packet.password !== undefined) connect.password = packet.password
  if (packet.will !== undefined) {
    const { topic, payload, qos, retain } = packet.will
    connect.will = { topic, payload, qos, retain }
  }
  return connect
}

/** Whether `preConnect` has set any field of the packet, or of its will, to something else. */
export function isChanged(before: AedesConnectPacket, left: AedesConnectPacket): boolean {
  const fields = ['clientId', 'clean', 'keepalive', 'username', 'password'] as const
  const ofWill = ['topic', 'payload', 'qos', 'retain'] as const
  return (
    fields.some((field) => before[field] !== left[field]) ||
    ofWill.some((field) => before.will?.[field] !== left.will?.[field])
  )
}

/**
 * Takes over what `preConnect` has changed: client ID, user name, password, will, keep-alive and clean session. What it
 * has left alone stays as it was found, also where TLS or an exchange has proved another user name than CONNECT says.
 * Returns why it cannot be, in a few words; undefined when all is well.
 */
export function adoptConnect(
  connection: Connection,
  packet: ConnectPacket,
  before: AedesConnectPacket,
  left: AedesConnectPacket,
): string | undefined {
  const { will } = left
  if (typeof left.clientId !== 'string') return 'preConnect has left no client ID'
  if (will !== undefined && publishProblem(will) !== undefined) return 'preConnect has left a will with a wrong topic'
  // Of the packet the client ID stays: a client that gave none is told the one it gets.
  if (left.clientId !== before.clientId && left.clientId !== '') connection.clientId = left.clientId
  if (left.username !== before.username) {
    packet.username = left.username
    connection.username = left.username
  }
  packet.password = typeof left.password === 'string' ? Buffer.from(left.password) : left.password
  packet.cleanStart = left.clean ?? packet.cleanStart
  if (left.keepalive !== undefined && left.keepalive !== before.keepalive)
    connection.liveness.keepAlive = left.keepalive
  packet.will = will === undefined ? undefined : toWill(will, packet.will)
  return undefined
}

function toWill(left: NonNullable<AedesConnectPacket['will']>, given: Will | undefined): Will {
  const payload = typeof left.payload === 'string' ? Buffer.from(left.payload) : left.payload
  const { delayInterval = 0, properties = {} } = given ?? {}
  return { topic: left.topic, payload, qos: left.qos as QoS, retain: left.retain ?? false, delayInterval, properties }
}
