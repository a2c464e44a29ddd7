/** A will as the message that it becomes. [MQTT 5.0 section 3.1.2.5] */

import { readDelay } from '../mqtt/delay.js'
import { Message } from '../mqtt/wire/message.js'
import type { Will } from '../mqtt/wire/packets.js'

export function willMessage(will: Will, clientId: string): Message {
  const { topic, delay } = readDelay(will.topic)
  const message = Message.from(topic, will.payload, {
    qos: will.qos,
    retain: will.retain, // [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    properties: will.properties,
    publisherId: clientId,
  })
  message.delay = delay
  return message
}
