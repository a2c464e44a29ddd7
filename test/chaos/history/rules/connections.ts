/** One client ID has one connection, save while nodes cannot hear each other and some moments after. */

import type { Found, Rule } from '../checker.js'
import { type EventOf, type HistoryEvent, WHOLE_NETWORK } from '../events.js'
import type { Guarantees } from '../guarantees.js'

interface Open {
  readonly connected: EventOf<'connected'>
  /** The network was whole for this long, in milliseconds, when it was let in. */
  readonly whole: number
}

export class ConnectionRule implements Rule {
  /** By client ID and connection. */
  private readonly open = new Map<string, Map<number, Open>>()
  /** For how long the network was whole until `since`, which is undefined while it is not. */
  private whole = 0
  private since: number | undefined = 0

  constructor(
    private readonly guarantees: Guarantees,
    private readonly found: Found,
  ) {}

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case 'fault':
        if (WHOLE_NETWORK.has(event.fault)) break
        this.whole = this.wholeAt(event.at)
        this.since = undefined
        break
      case 'healed':
        this.since ??= event.at
        break
      case 'connected': {
        const connections = this.open.get(event.client) ?? new Map<number, Open>()
        this.open.set(event.client, connections)
        connections.set(event.connection, { connected: event, whole: this.wholeAt(event.at) })
        break
      }
      case 'closed':
        this.judge(event.client, event)
        this.open.get(event.client)?.delete(event.connection)
        break
      case 'quiet':
        for (const client of this.open.keys()) this.judge(client, event)
        break
      default:
    }
  }

  private wholeAt(at: number): number {
    return this.since === undefined ? this.whole : this.whole + at - this.since
  }

  /** Were two of its connections open side by side for too long until now? */
  private judge(client: string, now: EventOf<'closed' | 'quiet'>): void {
    const [first, second] = [...(this.open.get(client)?.values() ?? [])]
    if (first === undefined || second === undefined) return
    const overlap = this.wholeAt(now.at) - second.whole
    if (overlap <= this.guarantees.overlapMs) return
    this.found({
      kind: 'two connections',
      key: `two connections: ${client}, ${first.connected.connection} and ${second.connected.connection}`,
      text: `${client} has a connection to ${first.connected.node} and one to ${second.connected.node} for ${Math.round(overlap)} ms of a whole network`,
      evidence: [first.connected, second.connected, now],
    })
  }
}
