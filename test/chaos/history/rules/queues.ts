/** No queue is longer than its bound. */

import type { Found, Rule } from '../checker.js'
import type { HistoryEvent } from '../events.js'

export class QueueRule implements Rule {
  constructor(private readonly found: Found) {}

  take(event: HistoryEvent): void {
    if (event.kind !== 'queue' || event.depth <= event.bound) return
    const key = `queue: ${event.name} on ${event.node}`
    const text = `${event.name} on ${event.node} holds ${event.depth}, and ${event.bound} is its bound`
    this.found({ kind: 'queue', key, text, evidence: [event] })
  }
}
