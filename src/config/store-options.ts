/** What a node keeps, where, and how safely. */

import { z } from 'zod'
import { choice } from './option.js'
import { redisSchema } from './redis-options.js'

export const storeSchema = z.strictObject({
  kind: choice(
    'embedded',
    ['embedded', 'redis', 'memory'],
    '`embedded` keeps retained messages and sessions in the data directory, so that they outlive the process. `redis` keeps retained messages in Redis (`store.redis`), so that they outlive the disk, too; sessions are in memory then. `memory` keeps nothing: a cluster that stops as a whole has lost them.',
  ),
  durability: choice(
    'commit',
    ['commit', 'fsync'],
    'When a message counts as kept, and its publisher is answered: `commit` once the operating system has it, which outlives the process but not a loss of power; `fsync` once the disk has. Of the embedded store only.',
  ),
  redis: redisSchema.prefault({}),
})
