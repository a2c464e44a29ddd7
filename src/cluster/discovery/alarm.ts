/** Discovery that fails for a while, as an alarm: who is linked stays, but nobody new is found. */

import type { AlarmCondition } from '../../telemetry/alarms.js'
import type { DiscoveryMetrics } from './metrics.js'

/** A moment without an answer is nothing to get up for, nor is a name that appears when the first node is ready. */
const RAISED_AFTER_MS = 30_000

/**
 * @param kind of discovery, as configured
 * @param now of `performance.now`
 */
export function* discoveryAlarms(
  kind: string,
  { isFailing, failingSince }: DiscoveryMetrics,
  now: number,
): Generator<AlarmCondition> {
  if (!isFailing || now - failingSince < RAISED_AFTER_MS) return
  const detail = `discovery (${kind}) finds nobody: links stay, new nodes are not found; the log says why`
  yield { alarm: 'discovery_failing', subject: kind, severity: 'warning', detail }
}
