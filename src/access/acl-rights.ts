/**
 * What one connected client may do. Decisions are made once per topic and remembered: a publisher that stays with its
 * topic costs two comparisons per message, another one a look-up by the topic's name (bench: load, with an ACL file).
 */

import type { ClientIdentity } from '../broker/ports.js'
import type { ClientRights } from '../mqtt/host.js'
import type { QoS } from '../mqtt/wire/packets.js'
import { type BoundRule, publishBit } from './acl-rule.js'
import type { RuleSet } from './rule-set.js'

/** Where the rules in force are found; they are replaced as a whole. */
export interface RuleSource {
  readonly current: RuleSet
}

export type DenialListener = (client: ClientIdentity, action: 'publish' | 'subscribe', topic: string) => void

/** Topics that a connection remembers decisions for; when there are more it begins anew. */
export const REMEMBERED_TOPICS = 128

export class AclRights implements ClientRights {
  /** The rules that `bound` and all that is remembered come from. */
  private rules: RuleSet | undefined
  private bound: readonly BoundRule[] = []
  private lastTopic = ''
  private lastMask = 0
  /** Allocated with the second topic. */
  private remembered: Map<string, number> | undefined

  private isDenialTold = false

  constructor(
    private readonly source: RuleSource,
    private readonly client: ClientIdentity,
    readonly closesWhenDenied: boolean,
    /** Told of the first denial of this client under the rules in force. */
    private readonly onDenial: DenialListener = () => undefined,
  ) {}

  mayPublish(topic: string, qos: QoS, retain: boolean): boolean {
    if (topic !== this.lastTopic || this.rules !== this.source.current) this.decide(topic)
    const isAllowed = (this.lastMask & publishBit(qos, retain)) !== 0
    if (!isAllowed) this.tellDenial('publish', topic)
    return isAllowed
  }

  maySubscribe(filter: string, qos: QoS): boolean {
    const rules = this.refresh()
    const { isAllowed } = rules.explainSubscribe(this.bound, filter, qos)
    if (!isAllowed) this.tellDenial('subscribe', filter)
    return isAllowed
  }

  private tellDenial(action: 'publish' | 'subscribe', topic: string): void {
    if (this.isDenialTold) return
    this.isDenialTold = true
    this.onDenial(this.client, action, topic)
  }

  private decide(topic: string): void {
    const rules = this.refresh()
    let mask = this.remembered?.get(topic)
    if (mask === undefined) {
      mask = rules.publishMask(this.bound, topic)
      if (this.lastTopic !== '') this.remember(topic, mask)
    }
    this.lastTopic = topic
    this.lastMask = mask
  }

  private remember(topic: string, mask: number): void {
    this.remembered ??= new Map([[this.lastTopic, this.lastMask]])
    if (this.remembered.size >= REMEMBERED_TOPICS) this.remembered.clear()
    this.remembered.set(topic, mask)
  }

  /** Rules that were replaced void everything that was decided by them. */
  private refresh(): RuleSet {
    const rules = this.source.current
    if (this.rules !== rules) {
      this.rules = rules
      this.bound = rules.bind(this.client)
      this.remembered = undefined
      this.lastTopic = ''
      this.isDenialTold = false
    }
    return rules
  }
}
