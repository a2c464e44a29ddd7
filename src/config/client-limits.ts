/**
 * Limits of each client that one listener may set for those that come in there: options of `mqtt` by the same names.
 * They are those that end with the connection. What a session keeps (its queue, its subscriptions) may be resumed
 * through another listener, and is the node's to say.
 */

import type { z } from 'zod'
import { mqttSchema } from './mqtt-options.js'
import { optional } from './option.js'
import type { MqttOptions } from './options.js'

const { shape } = mqttSchema

/** Of one listener: each may be left out, which leaves it to the node. */
export const clientLimits = {
  maximumPacketSize: optional(shape.maximumPacketSize, helpOf('maximumPacketSize')),
  maximumPayload: optional(shape.maximumPayload, helpOf('maximumPayload')),
  receiveMaximum: optional(shape.receiveMaximum, helpOf('receiveMaximum')),
  inflightWindow: optional(shape.inflightWindow, helpOf('inflightWindow')),
  topicAliasMaximum: optional(shape.topicAliasMaximum, helpOf('topicAliasMaximum')),
  packetsPerSecond: optional(shape.packetsPerSecond, helpOf('packetsPerSecond')),
  bytesPerSecond: optional(shape.bytesPerSecond, helpOf('bytesPerSecond')),
  outboxLimit: optional(shape.outboxLimit, helpOf('outboxLimit')),
  connectTimeout: optional(shape.connectTimeout, helpOf('connectTimeout')),
  drainTimeout: optional(shape.drainTimeout, helpOf('drainTimeout')),
  keepAliveLimit: optional(shape.keepAliveLimit, helpOf('keepAliveLimit')),
  maximumClientIdLength: optional(shape.maximumClientIdLength, helpOf('maximumClientIdLength')),
}

export type ClientLimits = { [K in keyof typeof clientLimits]?: z.output<(typeof clientLimits)[K]> }

/** The options of the protocol with the limits that `own` says; the same object where it says none. */
export function withLimits(mqtt: MqttOptions, own: ClientLimits): MqttOptions {
  const names = Object.keys(clientLimits) as (keyof ClientLimits)[]
  const said = names.filter((name) => own[name] !== undefined)
  if (said.length === 0) return mqtt
  return { ...mqtt, ...Object.fromEntries(said.map((name) => [name, own[name]])) }
}

function helpOf(name: keyof typeof mqttSchema.shape): string {
  return `\`mqtt.${name}\` of the clients of this listener. Not said: as there.`
}
