/** The rules in force, and what is left of them for one client: a short list that the client's decisions are made from. */

import type { ClientIdentity } from '../broker/ports.js'
import { parseShared } from '../mqtt/wire/topic.js'
import {
  type AclRule,
  type BoundRule,
  bindRule,
  concerns,
  EVERY_PUBLISH,
  matchesFilter,
  matchesTopic,
  publishBit,
} from './acl-rule.js'

export interface RuleSetOptions {
  /** Whether what no rule decides is allowed. `$SYS` topics are never allowed without a rule. */
  readonly allowsOtherwise: boolean
  /** Where that is said, for people. */
  readonly otherwiseOrigin: string
  /** True: a subscription is denied only if a denied filter covers all of it. */
  readonly isLenient: boolean
}

export interface Decision {
  readonly isAllowed: boolean
  /** The rule, or the default, that decided. */
  readonly origin: string
}

const SYSTEM_LEVEL = '$SYS'
/** Lists of rules without placeholders are shared by the clients that have the same one: at most so many lists. */
const SHARED_LISTS = 1_000

export class RuleSet {
  /** Positions of rules that are about one user name or client ID only; the others are asked for every client. */
  private readonly byUsername = new Map<string, number[]>()
  private readonly byClientId = new Map<string, number[]>()
  private readonly general: number[] = []
  private readonly shared = new Map<string, readonly BoundRule[]>()

  constructor(
    readonly rules: readonly AclRule[],
    private readonly options: RuleSetOptions,
  ) {
    rules.forEach(({ subject: { usernames, clientIds } }, position) => {
      if (usernames?.every((name) => name.isExact)) index(this.byUsername, usernames, position)
      else if (clientIds?.every((name) => name.isExact)) index(this.byClientId, clientIds, position)
      else this.general.push(position)
    })
  }

  /** The rules that concern a client, in their order. */
  bind(client: ClientIdentity): readonly BoundRule[] {
    const ofUser = client.username === undefined ? undefined : this.byUsername.get(client.username)
    const ofClient = this.byClientId.get(client.clientId)
    const candidates = [...this.general, ...(ofUser ?? []), ...(ofClient ?? [])]
    if (ofUser !== undefined || ofClient !== undefined) candidates.sort((left, right) => left - right)
    const positions = candidates.filter((position) => concerns(this.rule(position).subject, client))
    const hasPlaceholder = positions.some((position) =>
      this.rule(position).topics?.some((topic) => topic.hasPlaceholder),
    )
    if (hasPlaceholder) return this.bindAll(positions, client)
    const key = positions.join()
    let list = this.shared.get(key)
    if (list === undefined) {
      list = this.bindAll(positions, client)
      if (this.shared.size < SHARED_LISTS) this.shared.set(key, list)
    }
    return list
  }

  /** Which kinds of message a client may publish to a topic: bits as `publishBit` gives them. */
  publishMask(bound: readonly BoundRule[], topic: string): number {
    const levels = topic.split('/')
    let undecided = EVERY_PUBLISH
    let allowed = 0
    for (const rule of bound) {
      if ((rule.publishMask & undecided) === 0 || !matchesTopic(rule, topic, levels)) continue
      if (rule.isAllow) allowed |= rule.publishMask & undecided
      undecided &= ~rule.publishMask
      if (undecided === 0) return allowed
    }
    return this.allowsOtherwise(levels) ? allowed | undecided : allowed
  }

  /** Whether one kind of message may be published to a topic, and why. */
  explainPublish(bound: readonly BoundRule[], topic: string, qos: number, retain: boolean): Decision {
    const levels = topic.split('/')
    const bit = publishBit(qos, retain)
    return this.decisionOf(
      bound.find((rule) => (rule.publishMask & bit) !== 0 && matchesTopic(rule, topic, levels)),
      levels,
    )
  }

  /** Whether a subscription may be made, and why. A shared subscription is judged by its filter. */
  explainSubscribe(bound: readonly BoundRule[], requested: string, qos: number): Decision {
    const filter = parseShared(requested)?.filter ?? requested
    const levels = filter.split('/')
    const bit = 1 << qos
    return this.decisionOf(
      bound.find(
        (rule) => (rule.subscribeMask & bit) !== 0 && matchesFilter(rule, filter, levels, this.options.isLenient),
      ),
      levels,
    )
  }

  private decisionOf(rule: BoundRule | undefined, levels: readonly string[]): Decision {
    if (rule !== undefined) return { isAllowed: rule.isAllow, origin: rule.origin }
    const isAllowed = this.allowsOtherwise(levels)
    if (!isAllowed && this.options.allowsOtherwise) {
      return { isAllowed, origin: 'no rule matches, and $SYS topics are not allowed without one' }
    }
    return { isAllowed, origin: `no rule matches, ${this.options.otherwiseOrigin}` }
  }

  private allowsOtherwise(levels: readonly string[]): boolean {
    // A wildcard at the beginning does not match $SYS topics, so only filters that begin with it can.
    return this.options.allowsOtherwise && levels[0] !== SYSTEM_LEVEL
  }

  private bindAll(positions: readonly number[], client: ClientIdentity): readonly BoundRule[] {
    return positions.map((position) => bindRule(this.rule(position), client)).filter((rule) => rule !== undefined)
  }

  private rule(position: number): AclRule {
    const rule = this.rules[position]
    if (rule === undefined) throw new RangeError(`there is no rule ${position}`)
    return rule
  }
}

function index(map: Map<string, number[]>, names: readonly { readonly text: string }[], position: number): void {
  for (const { text } of new Set(names)) {
    const positions = map.get(text)
    if (positions === undefined) map.set(text, [position])
    else if (positions.at(-1) !== position) positions.push(position)
  }
}
