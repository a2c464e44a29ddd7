/** Faults that can be planted in the nodes, to see whether the checker finds them. */

import { fileURLToPath } from 'node:url'
import type { FaultKind } from '../mesh/schedule.js'
import type { ViolationKind } from './checker.js'

export interface Plant {
  /** Loaded into each node before it starts; it changes the build. */
  readonly file: string
  /** What the checker may call it. */
  readonly foundAs: readonly ViolationKind[]
  /** What brings it to light. */
  readonly faults: readonly FaultKind[]
}

function plant(name: string, foundAs: readonly ViolationKind[], faults: readonly FaultKind[]): Plant {
  return { file: fileURLToPath(new URL(`plants/${name}.mjs`, import.meta.url)), foundAs, faults }
}

export const PLANTS: Readonly<Record<string, Plant>> = {
  'early-ack': plant('early-ack', ['missing'], ['kill behind a cut']),
  'early-commit': plant('early-commit', ['retained', 'missing'], ['kill all']),
  'forgotten-qos2-id': plant('forgotten-qos2-id', ['duplicate'], ['flapping', 'freeze']),
  'skipped-handoff': plant('skipped-handoff', ['missing'], ['kill all', 'kill behind a cut']),
  'dropped-queue': plant('dropped-queue', ['missing'], ['halves', 'freeze']),
}
