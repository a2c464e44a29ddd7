/** A numbered batch as its sender keeps it. */

import type { PendingPublish } from '../broker/ports.js'
import type { SealedBatch } from './batch.js'
import type { BatchOrigin } from './wire.js'

export interface KeptBatch {
  /** `TAKEN` once the peer has it although it lacks one before it. */
  sealed: SealedBatch
  /** Publishers that wait for this batch; emptied when they were answered early. */
  pendings: PendingPublish[]
  /** Incarnation of the peer of which it names groups. */
  readonly receiver: number
  /** Of a hint: what tells the peer that it has had it before. Undefined when the batch began in its lane. */
  readonly origin: BatchOrigin | undefined
}

export const NO_PENDINGS: PendingPublish[] = []

export const TAKEN: SealedBatch = {
  entries: Buffer.alloc(0),
  continued: false,
  bytes: 0,
  count: 0,
  isQos1Only: true,
  startedAt: 0,
}
