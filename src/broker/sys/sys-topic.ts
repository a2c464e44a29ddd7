/** A `$SYS` topic, as a name and how to read its value. */

/** What the topics tell of; read when somebody wants to know. */
export interface SysSource {
  /** Milliseconds since the broker began to take clients. */
  uptime(): number
  /** Names of the nodes that run, this one among them. */
  nodes(): readonly string[]
  connections(): number
  sessions(): number
  subscriptions(): number
  sharedSubscriptions(): number
  /** Distinct topic filters, here and of the peers. */
  topics(): number
  retainedMessages(): number
  retainedBytes(): number
  delayedMessages(): number
  /** Looks at every session, as the next. */
  queuedMessages(): number
  queuedBytes(): number
  inFlightMessages(): number
}

export interface SysTopic {
  readonly topic: string
  /** Delivered to clients of this node only: every node has its own under the same name. */
  readonly isLocal: boolean
  readonly read: () => string
}

/** All counters of a record together. */
export function total(counters: Readonly<Record<string, { readonly value: number }>>): number {
  let sum = 0
  for (const counter of Object.values(counters)) sum += counter.value
  return sum
}
