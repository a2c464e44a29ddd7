/**
 * Once it is quiet, the retained message of a topic is the last one that was acknowledged, or one of those that may have
 * come later: those sent after it, and those of which nobody knows. And it is the same on every node.
 */

import type { Found, Rule } from '../checker.js'
import type { EventOf, HistoryEvent } from '../events.js'
import type { Guarantees } from '../guarantees.js'

interface Write {
  readonly sent: EventOf<'write'>
  written: EventOf<'written'> | undefined
}

export class RetainedRule implements Rule {
  private readonly writes = new Map<string, Write[]>()
  /** The first one since the last write, by topic. */
  private readonly reads = new Map<string, EventOf<'read'>>()

  constructor(
    private readonly guarantees: Guarantees,
    private readonly found: Found,
  ) {}

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case 'write':
        this.writesOf(event.topic).push({ sent: event, written: undefined })
        this.reads.delete(event.topic)
        break
      case 'written': {
        const write = this.writesOf(event.topic).findLast(
          ({ sent, written }) => sent.writer === event.writer && sent.value === event.value && written === undefined,
        )
        if (write !== undefined) write.written = event
        break
      }
      case 'fault':
        if (event.fault === 'killed' && !this.guarantees.retainedOutlivesKill) this.forget(event.nodes)
        break
      case 'read':
        this.judge(event)
        break
      default:
    }
  }

  /** What only these nodes may have had: it counts as one of which nobody knows. */
  private forget(nodes: readonly string[]): void {
    for (const writes of this.writes.values()) {
      for (const write of writes) if (nodes.includes(write.sent.node)) write.written = undefined
    }
  }

  private judge(event: EventOf<'read'>): void {
    const before = this.reads.get(event.topic)
    if (before === undefined) this.reads.set(event.topic, event)
    else if (before.value !== event.value) {
      this.report(
        event,
        `${event.topic} is ${said(before.value)} on ${before.node} and ${said(event.value)} on ${event.node}`,
        [before, event],
      )
      return
    }
    const writes = this.writesOf(event.topic)
    const last = writes.findLast(({ written }) => written !== undefined)
    if (last === undefined || this.mayBe(event.value, writes, last)) return
    const text = `${event.topic} is ${said(event.value)} on ${event.node}; the last that was acknowledged is ${said(last.sent.value)}`
    this.report(event, text, [last.sent, ...(last.written === undefined ? [] : [last.written]), event])
  }

  private mayBe(value: string, writes: readonly Write[], last: Write): boolean {
    return writes.some(({ sent, written }) => {
      if (sent.value !== value) return false
      if (written === undefined || sent === last.sent) return true
      // Acknowledged, and nothing that was acknowledged had begun after that.
      return !writes.some((other) => other.written !== undefined && other.sent.at > written.at)
    })
  }

  private report(event: EventOf<'read'>, text: string, evidence: readonly HistoryEvent[]): void {
    this.found({ kind: 'retained', key: `retained: ${event.topic} on ${event.node}`, text, evidence })
  }

  private writesOf(topic: string): Write[] {
    let writes = this.writes.get(topic)
    if (writes === undefined) {
      writes = []
      this.writes.set(topic, writes)
    }
    return writes
  }
}

function said(value: string): string {
  return value === '' ? 'not there' : `"${value}"`
}
