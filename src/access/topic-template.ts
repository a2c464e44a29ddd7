/** A topic of an ACL rule as it is written: a filter, perhaps exact, perhaps with the client's names in it. */

import type { ClientIdentity } from '../broker/ports.js'
import { isShared, topicFilterProblem } from '../mqtt/wire/topic.js'

/** Those with a percent sign are Mosquitto's, the others EMQX's. */
const PLACEHOLDER = /(%u|\$\{username\})|%c|\$\{clientid\}/g
/** Anything that looks like a placeholder and is none. */
const UNKNOWN_PLACEHOLDER = /\$\{[^}]*\}?/
const EXACT_PREFIX = 'eq '

/** A topic of a rule for one client. */
export interface BoundTopic {
  readonly levels: readonly string[]
  /** The subscription must be this very filter: `eq #` is about `#`, not about what it covers. */
  readonly isExact: boolean
  readonly filter: string
}

export class TopicTemplate {
  private readonly constant: BoundTopic | undefined

  /** @param filter as written, without `eq`; `problemOf` has found nothing wrong with it. */
  private constructor(
    private readonly filter: string,
    private readonly isExact: boolean,
  ) {
    this.constant = filter.search(PLACEHOLDER) === -1 ? bound(filter, isExact) : undefined
  }

  static parse(text: string): TopicTemplate {
    const isExact = text.startsWith(EXACT_PREFIX)
    return new TopicTemplate(isExact ? text.slice(EXACT_PREFIX.length) : text, isExact)
  }

  /** Says what is wrong with a topic of a rule, or undefined. */
  static problemOf(text: string): string | undefined {
    const filter = text.startsWith(EXACT_PREFIX) ? text.slice(EXACT_PREFIX.length) : text
    const filled = filter.replaceAll(PLACEHOLDER, 'x')
    const unknown = UNKNOWN_PLACEHOLDER.exec(filled)
    if (unknown !== null) return `unknown placeholder ${unknown[0]}; expected \${clientid}, \${username}, %c or %u`
    if (isShared(filled)) return 'a shared subscription is judged by its filter: leave $share/{group}/ or $queue/ out'
    return topicFilterProblem(filled)
  }

  get hasPlaceholder(): boolean {
    return this.constant === undefined
  }

  /**
   * The topic for one client; undefined when it does not concern that client. A name with `/`, `+` or `#` in it would
   * reach beyond its level: in an `allow` rule it is not filled in at all, and a `deny` rule then takes everything
   * from that level on.
   */
  bind(client: ClientIdentity, isAllow: boolean): BoundTopic | undefined {
    if (this.constant !== undefined) return this.constant
    const levels: string[] = []
    for (const level of this.filter.split('/')) {
      let isWide = false
      let isMissing = false
      const filled = level.replaceAll(PLACEHOLDER, (_placeholder, isUsername: string | undefined) => {
        const value = (isUsername === undefined ? client.clientId : client.username) ?? ''
        if (value === '') isMissing = true
        if (/[/+#]/.test(value)) isWide = true
        return value
      })
      if (isMissing || (isWide && isAllow)) return undefined
      if (isWide) return bound([...levels, '#'].join('/'), false)
      levels.push(filled)
    }
    return bound(levels.join('/'), this.isExact)
  }
}

function bound(filter: string, isExact: boolean): BoundTopic {
  return { levels: filter.split('/'), isExact, filter }
}
