/** The shortest history with a violation: events are taken away as long as the checker still finds it. */

import { check, type Violation, type ViolationKind } from './checker.js'
import type { HistoryEvent } from './events.js'
import type { Guarantees } from './guarantees.js'

export interface ShortestHistory {
  readonly violation: Violation
  /** None of them can be left out. */
  readonly events: readonly HistoryEvent[]
}

/** What is left of a violation when nothing more can be left out of its evidence. */
export function shortestOf(
  history: readonly HistoryEvent[],
  violation: Violation,
  guarantees: Guarantees,
): ShortestHistory {
  const wanted = new Set(violation.evidence)
  // In the order of the history, whatever the order of the evidence.
  let events = history.filter((event) => wanted.has(event))
  for (let index = events.length - 1; index >= 0; index -= 1) {
    const fewer = events.toSpliced(index, 1)
    if (has(fewer, violation, guarantees)) events = fewer
  }
  return { violation, events }
}

/** For each kind of violation the one with the fewest events, and of those the one that took the least time. */
export function shortestOfEachKind(
  history: readonly HistoryEvent[],
  violations: readonly Violation[],
  guarantees: Guarantees,
): ShortestHistory[] {
  const best = new Map<ViolationKind, ShortestHistory>()
  for (const violation of violations.slice(0, MAXIMUM_LOOKED_AT)) {
    const one = shortestOf(history, violation, guarantees)
    const other = best.get(violation.kind)
    if (other === undefined || isShorter(one, other)) best.set(violation.kind, one)
  }
  return [...best.values()]
}

/** One mistake of a node shows in thousands of messages; the first hundreds tell as much. */
const MAXIMUM_LOOKED_AT = 200

function has(events: readonly HistoryEvent[], { key }: Violation, guarantees: Guarantees): boolean {
  return check(events, guarantees).some((violation) => violation.key === key)
}

function isShorter(one: ShortestHistory, other: ShortestHistory): boolean {
  if (one.events.length !== other.events.length) return one.events.length < other.events.length
  return duration(one.events) < duration(other.events)
}

function duration(events: readonly HistoryEvent[]): number {
  return (events.at(-1)?.at ?? 0) - (events[0]?.at ?? 0)
}
