/** How a node lets its clients go before it stops. */

import { z } from 'zod'
import type { DeepReadonly } from './deep-freeze.js'
import { count, duration } from './option.js'

export const drainSchema = z.strictObject({
  grace: duration(
    '0',
    ['0', '10m'],
    'How long a node that stops or drains goes on serving its clients after `/readyz` says that it is not ready, so that balancers notice first.',
  ),
  rate: count(1_000, [1, 1_000_000], 'Connections a second that a node which stops or drains closes.'),
  timeout: duration(
    '30s',
    ['0', '1h'],
    'How long that may take; a node that stops then closes the rest at once. Give the node more than grace, timeout, handover and offer together before it is killed.',
  ),
  handover: duration(
    '5s',
    ['0', '10m'],
    'How long a node that has closed its clients waits for those with a session to come to other nodes, which take the session over. It goes on as soon as the last one has; without other nodes it does not wait.',
  ),
  offer: duration(
    '10s',
    ['0', '1h'],
    'How long a node that stops or leaves takes, after that, to have other nodes take the sessions whose clients are away. It goes on as soon as the last one is gone; 0: they end with the node.',
  ),
})

export type DrainOptions = DeepReadonly<z.output<typeof drainSchema>>
