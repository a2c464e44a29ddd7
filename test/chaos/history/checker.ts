/**
 * Holds a history to what was promised. Pure: the same history and guarantees give the same violations. One pass; each rule
 * keeps what it needs, and all of them ask the same `Sessions` what a client may expect to be there.
 */

import type { HistoryEvent } from './events.js'
import type { Guarantees } from './guarantees.js'
import { ConnectionRule } from './rules/connections.js'
import { DeliveryRule } from './rules/deliveries.js'
import { GroupRule } from './rules/groups.js'
import { QueueRule } from './rules/queues.js'
import { RetainedRule } from './rules/retained.js'
import { Sessions } from './rules/sessions.js'
import { WillRule } from './rules/wills.js'

export const VIOLATION_KINDS = [
  /** Acknowledged to its publisher, and not there. */
  'missing',
  /** A session that was promised to be there is not. */
  'session lost',
  /** Session Present where there can be no session. */
  'session from nowhere',
  /** A message of QoS 2, twice. */
  'duplicate',
  /** A message of QoS 1 twice, where nobody had a reason to send it again. */
  'repeat',
  /** A message with a delay, before its time. */
  'early',
  /** Acknowledged to its publisher, and no member of a group has it. */
  'missing in a group',
  /** A message of QoS 2, to two members of a group. */
  'twice in a group',
  /** A client is gone without a word, and its will does not come. */
  'will missing',
  /** A will that comes twice, or of a client that has said goodbye. */
  'will',
  /** A message for the first time, after a later one of its stream. */
  'order',
  /** A message that nobody has sent. */
  'unknown',
  /** Two connections of one client ID. */
  'two connections',
  /** A queue above its bound. */
  'queue',
  /** A retained message that is not the last one, or not the same everywhere. */
  'retained',
] as const
export type ViolationKind = (typeof VIOLATION_KINDS)[number]

export interface Violation {
  readonly kind: ViolationKind
  /** Its kind and what it is about: the same in every history that has this violation. */
  readonly key: string
  /** For people. */
  readonly text: string
  /** Events that show it, in their order; by themselves a history with the same violation. */
  readonly evidence: readonly HistoryEvent[]
}

export interface Rule {
  take(event: HistoryEvent): void
}

/** Everything that is wrong, in the order in which it was found. */
export function check(history: Iterable<HistoryEvent>, guarantees: Guarantees): Violation[] {
  const violations = new Map<string, Violation>()
  const found = (violation: Violation): void => {
    if (!violations.has(violation.key)) violations.set(violation.key, violation)
  }
  const sessions = new Sessions(guarantees, found)
  const rules: Rule[] = [
    sessions,
    new DeliveryRule(guarantees, sessions, found),
    new GroupRule(guarantees, sessions, found),
    new WillRule(sessions, found),
    new ConnectionRule(guarantees, found),
    new QueueRule(found),
    new RetainedRule(guarantees, found),
  ]
  for (const event of history) for (const rule of rules) rule.take(event)
  return [...violations.values()]
}

/** Takes what a rule finds; what was found before counts once. */
export type Found = (violation: Violation) => void
