/** A rule of an ACL, and what is left of it for one client. */

import type { ClientIdentity } from '../broker/ports.js'
import type { IpAddressSet } from '../util/ip-address.js'
import type { NamePattern } from './name-pattern.js'
import { covers, overlaps } from './topic-area.js'
import type { BoundTopic, TopicTemplate } from './topic-template.js'

export type AclAction = 'publish' | 'subscribe' | 'all'

/** Whom a rule is about: all that is said must hold, and one of each list. */
export interface AclSubject {
  readonly usernames: readonly NamePattern[] | undefined
  readonly clientIds: readonly NamePattern[] | undefined
  readonly addresses: IpAddressSet | undefined
  readonly isAnonymous: boolean | undefined
}

export interface AclRule {
  readonly isAllow: boolean
  readonly action: AclAction
  readonly subject: AclSubject
  /** Undefined: every topic, those that begin with a dollar sign too. */
  readonly topics: readonly TopicTemplate[] | undefined
  /** Bits of the quality levels that it is about: 1 << QoS. */
  readonly qosMask: number
  /** Undefined: retained or not. */
  readonly retain: boolean | undefined
  /** Where it is written, such as `acl.yaml:12`. */
  readonly origin: string
}

/** A rule that concerns a client, its topics filled in. */
export interface BoundRule {
  readonly isAllow: boolean
  /** Bits of what it decides of publishing: see `publishBit`. */
  readonly publishMask: number
  /** Bits of what it decides of subscribing: 1 << QoS. */
  readonly subscribeMask: number
  readonly topics: readonly BoundTopic[] | undefined
  readonly origin: string
}

export const EVERY_QOS = 0b111
/** A message is retained or not, and of one of three quality levels: six bits. */
export const EVERY_PUBLISH = 0b111111

/** The bit of a message's kind in a mask of publishing. */
export function publishBit(qos: number, retain: boolean): number {
  return 1 << (retain ? qos + 3 : qos)
}

/** Whether a rule is about this client. */
export function concerns(
  { usernames, clientIds, addresses, isAnonymous }: AclSubject,
  client: ClientIdentity,
): boolean {
  const { username, clientId, address } = client
  if (isAnonymous !== undefined && isAnonymous !== (username === undefined)) return false
  if (usernames !== undefined && (username === undefined || !usernames.some((name) => name.matches(username)))) {
    return false
  }
  if (clientIds !== undefined && !clientIds.some((name) => name.matches(clientId))) return false
  // A zone names an interface of this machine; it is no part of the address.
  return addresses === undefined || addresses.has(address.replace(/%.*/, ''))
}

/** The rule for a client whom it concerns; undefined when none of its topics does. */
export function bindRule(rule: AclRule, client: ClientIdentity): BoundRule | undefined {
  const { isAllow, action, qosMask, retain, origin } = rule
  const topics = rule.topics?.map((topic) => topic.bind(client, isAllow)).filter((topic) => topic !== undefined)
  if (topics?.length === 0) return undefined
  const plain = retain === true ? 0 : qosMask
  const retained = retain === false ? 0 : qosMask << 3
  return {
    isAllow,
    publishMask: action === 'subscribe' ? 0 : plain | retained,
    subscribeMask: action === 'publish' ? 0 : qosMask,
    topics,
    origin,
  }
}

/** Whether a rule says something about publishing to this topic. */
export function matchesTopic({ topics }: BoundRule, topic: string, levels: readonly string[]): boolean {
  if (topics === undefined) return true
  for (const each of topics) {
    if (each.isExact ? each.filter === topic : covers(each.levels, levels)) return true
  }
  return false
}

/**
 * Whether a rule decides on a subscription. A rule that allows has to cover all of it. One that denies need only have
 * a topic in common with it, or what is denied would arrive by a wider filter; with `isLenient` it has to cover it,
 * as in EMQX.
 */
export function matchesFilter(
  { topics, isAllow }: BoundRule,
  filter: string,
  levels: readonly string[],
  isLenient: boolean,
): boolean {
  if (topics === undefined) return true
  for (const each of topics) {
    if (each.isExact) {
      if (each.filter === filter) return true
    } else if (isAllow || isLenient ? covers(each.levels, levels) : overlaps(each.levels, levels)) return true
  }
  return false
}
