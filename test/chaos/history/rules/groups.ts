/**
 * Shared subscriptions: each message goes to one member of a group. What was acknowledged has come to some member once it is
 * quiet, and of QoS 2 to one only, as long as no node was killed: then what waited there may go to another member as well,
 * and one of QoS 2 that its publisher had no answer to may have gone to none. Nor is anything promised of what is published on a
 * node that has been restarted until it is linked again: what it owes nodes that it has met is known by their filters only;
 * and of what was on its way while all members were on nodes that were killed.
 */

import type { Found, Rule } from '../checker.js'
import { type EventOf, type HistoryEvent, messageKey } from '../events.js'
import { matches } from '../topic-match.js'
import type { Sessions } from './sessions.js'

const SHARE = /^\$share\/([^/]+)\/(.+)$/

interface Published {
  readonly first: EventOf<'send'>
  acked: EventOf<'acked'> | undefined
  /** Its publisher's node was killed before it had acknowledged it. */
  isInterrupted: boolean
  /** Its publisher's node had just been restarted, and may not have heard of the group yet. */
  readonly isOfStranger: boolean
}

class Group {
  readonly members = new Set<string>()
  /** By message: the first time that a member got it. */
  readonly received = new Map<string, EventOf<'receive'>>()
  /** Since when all its members are on nodes that were killed; undefined while some are not. */
  orphanedAt: number | undefined
  /** When that was so, from and to. */
  readonly orphaned: (readonly [from: number, to: number])[] = []

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
          this.published.set(key, {
            ...{ first: event, acked: undefined, isInterrupted: false },
            isOfStranger: this.ended.has(event.node),
          })
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
        if (event.fault === 'killed') this.killed(event)
        break
      case 'healed':
        this.healed(event)
        break
      case 'quiet':
        for (const group of this.groups.values()) this.findMissing(group, event)
        break
      default:
    }
  }

  private killed({ at, nodes }: EventOf<'fault'>): void {
    this.killedAt = at
    for (const published of this.published.values()) {
      if (published.acked === undefined && nodes.includes(published.first.node)) published.isInterrupted = true
    }
    for (const group of this.groups.values()) {
      const isOrphaned = [...group.members].every((client) => this.ended.has(this.sessions.of(client)?.node ?? ''))
      if (isOrphaned) group.orphanedAt ??= at
    }
  }

  private healed({ at }: EventOf<'healed'>): void {
    this.ended.clear()
    for (const group of this.groups.values()) {
      if (group.orphanedAt !== undefined) group.orphaned.push([group.orphanedAt, at])
      group.orphanedAt = undefined
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
    if (this.killedAt > first.at) return
    const text = `${before.client} and ${event.client} of ${group.share} both get ${message}`
    this.report('twice in a group', group, message, text, [...this.memberships(group), first, before, event])
  }

  private findMissing(group: Group, quiet: EventOf<'quiet'>): void {
    const since = this.promisedSince(group)
    for (const [message, { first, acked, isInterrupted, isOfStranger }] of this.published) {
      if (acked === undefined || isOfStranger || first.at <= since || group.received.has(message)) continue
      // The next life knows its id, and not which member it was for: when it comes again it is taken for known.
      if (isInterrupted && first.stream.qos === 2) continue
      // Nobody was left to give it to, and the peers do not keep it for the next life.
      if (group.orphaned.some(([from, to]) => acked.at > from && first.at < to)) continue
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
