/** CONNECT in the shape of Aedes' packets, for `preConnect`, and what that hook has made of it. */

import type { ConnectPacket as AedesConnectPacket } from 'aedes'
import type { ConnectPacket, QoS } from '../mqtt/wire/packets.js'
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
 * Takes over what `preConnect` has changed: client ID, user name, password, will, keep-alive and clean session.
 * Returns why it cannot be, in a few words; undefined when all is well.
 */
export function adoptConnect(packet: ConnectPacket, left: AedesConnectPacket): string | undefined {
  const { will } = left
  if (typeof left.clientId !== 'string') return 'preConnect has left no client ID'
  if (will !== undefined && publishProblem(will) !== undefined) return 'preConnect has left a will with a wrong topic'
  packet.clientId = left.clientId
  packet.cleanStart = left.clean ?? packet.cleanStart
  packet.keepAlive = left.keepalive ?? packet.keepAlive
  packet.username = left.username
  packet.password = typeof left.password === 'string' ? Buffer.from(left.password) : left.password
  if (will === undefined) packet.will = undefined
  else {
    const payload = typeof will.payload === 'string' ? Buffer.from(will.payload) : will.payload
    const { delayInterval = 0, properties = {} } = packet.will ?? {}
    const { topic, qos, retain } = will
    packet.will = { topic, payload, qos: qos as QoS, retain: retain ?? false, delayInterval, properties }
  }
  return undefined
}
