/**
 * Shared subscriptions: each message goes to one member of a group. What was acknowledged has come to some member once it is
 * quiet, and of QoS 2 to one only. Where sessions end with their node, a QoS 2 message may have gone to two when one was killed,
 * and nothing is promised of what is published on a node that has been restarted until it is linked again.
 */

import type { Found, Rule } from '../checker.js'
import { type EventOf, type HistoryEvent, messageKey } from '../events.js'
import type { Guarantees } from '../guarantees.js'
import { matches } from '../topic-match.js'
import type { Sessions } from './sessions.js'

const SHARE = /^\$share\/([^/]+)\/(.+)$/

interface Published {
  readonly first: EventOf<'send'>
  acked: EventOf<'acked'> | undefined
  /** Its publisher's node had just been restarted, and may not have heard of the group yet. */
  readonly isOfStranger: boolean
}

class Group {
  readonly members = new Set<string>()
  /** By message: the first time that a member got it. */
  readonly received = new Map<string, EventOf<'receive'>>()

  constructor(
    /** As its members subscribe: `$share/{group}/{filter}`. */
    readonly share: string,
    readonly filter: string,
  ) {}
}

export class GroupRule implements Rule {
  /** By share. */
  private readonly groups = new Map<string, Group>()
  private readonly groupOf = new Map<string, Group>()
  private readonly published = new Map<string, Published>()
  private killedAt = -Infinity
  /** Nodes that have ended since the network was whole. */
  private readonly ended = new Set<string>()

  constructor(
    private readonly guarantees: Guarantees,
    private readonly sessions: Sessions,
    private readonly found: Found,
  ) {}

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case 'subscribed':
        this.join(event)
        break
      case 'send': {
        const key = messageKey(event)
        if (!this.published.has(key))
          this.published.set(key, { first: event, acked: undefined, isOfStranger: this.ended.has(event.node) })
        break
      }
      case 'acked': {
        const published = this.published.get(messageKey(event))
        if (published !== undefined) published.acked ??= event
        break
      }
      case 'receive': {
        const group = this.groupOf.get(event.client)
        if (group !== undefined) this.receive(event, group)
        break
      }
      case 'fault':
        if (event.fault === 'killed' || event.fault === 'drained') for (const node of event.nodes) this.ended.add(node)
        if (event.fault === 'killed') this.killedAt = event.at
        break
      case 'healed':
        this.ended.clear()
        break
      case 'quiet':
        for (const group of this.groups.values()) this.findMissing(group, event)
        break
      default:
    }
  }

  private join({ client, filter }: EventOf<'subscribed'>): void {
    const [share, , own = ''] = SHARE.exec(filter) ?? []
    if (share === undefined) return
    const group = this.groups.get(share) ?? new Group(share, own)
    this.groups.set(share, group)
    group.members.add(client)
    this.groupOf.set(client, group)
  }

  private receive(event: EventOf<'receive'>, group: Group): void {
    const message = messageKey(event)
    const before = group.received.get(message)
    if (before === undefined) {
      group.received.set(message, event)
      return
    }
    const first = this.published.get(message)?.first
    // To one member twice is nothing of the group's.
    if (before.client === event.client || event.stream.qos === 1 || first === undefined) return
    if (!this.guarantees.sessionsOutliveKill && this.killedAt > first.at) return
    const text = `${before.client} and ${event.client} of ${group.share} both get ${message}`
    this.report('twice in a group', group, message, text, [...this.memberships(group), first, before, event])
  }

  private findMissing(group: Group, quiet: EventOf<'quiet'>): void {
    const since = this.promisedSince(group)
    for (const [message, { first, acked, isOfStranger }] of this.published) {
      if (acked === undefined || first.at <= since || group.received.has(message)) continue
      if (isOfStranger && !this.guarantees.sessionsOutliveKill) continue
      if (!matches(group.filter, first.stream.topic)) continue
      const text = `no member of ${group.share} ever gets ${message}, which was acknowledged`
      this.report('missing in a group', group, message, text, [...this.memberships(group), first, acked, quiet])
    }
  }

  /** What waited with a member whose session may be gone is promised to nobody. */
  private promisedSince({ members, share }: Group): number {
    let since = -Infinity
    for (const client of members) {
      const session = this.sessions.of(client)
      const subscription = session?.mayBeGone === false ? session.subscriptions.get(share) : undefined
      since = Math.max(since, subscription?.at ?? Infinity)
    }
    return since
  }

  private memberships({ members, share }: Group): HistoryEvent[] {
    return [...members].flatMap((client) => {
      const session = this.sessions.of(client)
      const events = [session?.subscribed.get(share), session?.subscriptions.get(share)]
      return [...new Set(events)].filter((event) => event !== undefined)
    })
  }

  private report(
    kind: 'missing in a group' | 'twice in a group',
    { share }: Group,
    message: string,
    text: string,
    evidence: readonly HistoryEvent[],
  ): void {
    this.found({ kind, key: `${kind}: ${share}, ${message}`, text, evidence })
  }
}
