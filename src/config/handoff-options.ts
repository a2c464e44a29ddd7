/** What a node keeps in its store for peers that are down. */

import { z } from 'zod'
import { duration, size } from './option.js'

export const handoffSchema = z.strictObject({
  bytes: size(
    '256mb',
    ['64kb', '1024gb'],
    'Per peer that is down and whose sessions outlive it: QoS 1 and 2 messages kept for it in the store; as much for all shared subscriptions of which no member is within reach. Beyond it they are dropped and counted, and their publishers answered late.',
  ),
  retention: duration(
    '1d',
    ['0', '24d'],
    'How long such a peer is owed what it missed, and keeps its routes; and how long a message waits for a member of a shared subscription. For peers whose sessions end with them it is `cluster.routeRetention`.',
  ),
})
