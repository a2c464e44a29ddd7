/** Options of the `$SYS` topics: what the broker tells about itself, and how often. */

import { z } from 'zod'
import { boolean, duration, list } from './option.js'

/** What may happen to a client, as the topics below `$SYS/brokers/{node}/clients/{client ID}/` call it. */
export const CLIENT_EVENTS = ['connected', 'disconnected', 'subscribed', 'unsubscribed'] as const

export type ClientEvent = (typeof CLIENT_EVENTS)[number]

export const sysSchema = z.strictObject({
  interval: duration(
    '10s',
    ['1s', '1h'],
    'How often the `$SYS` topics are published that somebody subscribes to. A new subscriber gets those of its node at once.',
  ),
  brokers: boolean(
    true,
    'Whether there are `$SYS/brokers` and `$SYS/brokers/{node}/…`, with EMQX’s names: version, uptime, stats, metrics of each node, on every node.',
  ),
  broker: boolean(
    true,
    'Whether there are `$SYS/broker/…`, with Mosquitto’s names: those of the node that a client is connected to, and only there.',
  ),
  clientEvents: list(
    ['connected', 'disconnected'],
    { accepted: `a list of ${CLIENT_EVENTS.join(', ')}`, check: checkClientEvent },
    'What is told about clients on `$SYS/brokers/{node}/clients/{client ID}/{event}`, as JSON, when somebody subscribes to it.',
  ),
})

function checkClientEvent(value: string): void {
  if (!(CLIENT_EVENTS as readonly string[]).includes(value)) throw new RangeError('there is no such event')
}
