/**
 * Topic names and topic filters: what is wrong with one, and what a shared subscription's filter is made of.
 * Nothing is normalized: names that differ in one byte are different. [MQTT-4.7.3-4]
 */

/** Longest topic name or filter, in bytes of UTF-8. [MQTT-4.7.3-3] */
const MAXIMUM_TOPIC_BYTES = 65_535

const SHARE_PREFIX = '$share/'
const QUEUE_PREFIX = '$queue/'

/** The group of `$queue/{filter}`, which names none. */
const QUEUE_GROUP = '$queue'

const NUL = 0
const HASH = 0x23
const PLUS = 0x2b
const SLASH = 0x2f

/** A shared subscription taken apart: one member of `group` gets each message that matches `filter`. */
export interface SharedFilter {
  group: string
  filter: string
}

/** Says what is wrong with a topic name, or undefined when it may be published to. */
export function topicNameProblem(topic: string): string | undefined {
  const length = topic.length
  if (length === 0) return 'topic name is empty [MQTT-4.7.3-1]'
  for (let index = 0; index < length; index++) {
    const unit = topic.charCodeAt(index)
    if (unit === PLUS || unit === HASH) return 'topic name contains a wildcard [MQTT-3.3.2-2]'
    if (unit === NUL) return 'topic name contains U+0000 [MQTT-4.7.3-2]'
  }
  if (isTooLong(topic)) return 'topic name is longer than 65535 bytes [MQTT-4.7.3-3]'
  return undefined
}

/** Says what is wrong with a topic filter, shared or not, or undefined when it may be subscribed to. */
export function topicFilterProblem(filter: string): string | undefined {
  const length = filter.length
  if (length === 0) return 'topic filter is empty [MQTT-4.7.3-1]'
  if (isTooLong(filter)) return 'topic filter is longer than 65535 bytes [MQTT-4.7.3-3]'
  let start = 0
  if (isShared(filter)) {
    const shared = parseShared(filter)
    if (shared === undefined) return 'shared subscription is not $share/{group}/{filter} [MQTT-4.8.2-1]'
    start = length - shared.filter.length
  }
  for (let index = start; index < length; index++) {
    const unit = filter.charCodeAt(index)
    if (unit === NUL) return 'topic filter contains U+0000 [MQTT-4.7.3-2]'
    if (unit !== HASH && unit !== PLUS) continue
    if (index > start && filter.charCodeAt(index - 1) !== SLASH) {
      return 'wildcard does not fill its level [MQTT-4.7.1-1] [MQTT-4.7.1-2]'
    }
    if (index === length - 1) continue
    if (unit === HASH) return '# is not the last character [MQTT-4.7.1-1]'
    if (filter.charCodeAt(index + 1) !== SLASH) return '+ does not fill its level [MQTT-4.7.1-2]'
  }
  return undefined
}

/** Whether a filter asks for a shared subscription, well-formed or not. */
export function isShared(filter: string): boolean {
  return filter.startsWith(SHARE_PREFIX) || filter.startsWith(QUEUE_PREFIX)
}

/**
 * Takes `$share/{group}/{filter}` or `$queue/{filter}` apart; undefined when the filter is not shared, or its group
 * is empty or contains a wildcard [MQTT-4.8.2-2], or nothing follows the group. The inner filter is not checked.
 */
export function parseShared(filter: string): SharedFilter | undefined {
  if (filter.startsWith(QUEUE_PREFIX)) {
    const inner = filter.slice(QUEUE_PREFIX.length)
    return inner === '' ? undefined : { group: QUEUE_GROUP, filter: inner }
  }
  if (!filter.startsWith(SHARE_PREFIX)) return undefined
  const slash = filter.indexOf('/', SHARE_PREFIX.length)
  if (slash === -1) return undefined
  const group = filter.slice(SHARE_PREFIX.length, slash)
  const inner = filter.slice(slash + 1)
  if (group === '' || inner === '' || isWildcard(group) || group.includes('\0')) return undefined
  return { group, filter: inner }
}

/** Number of levels of a topic name or filter: one more than it has slashes. */
export function levelCount(topic: string): number {
  let levels = 1
  for (let slash = topic.indexOf('/'); slash !== -1; slash = topic.indexOf('/', slash + 1)) levels += 1
  return levels
}

/** Whether a topic filter contains `+` or `#`. */
export function isWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}

/**
 * Whether a message to this topic name is for subscribers of this filter, shared or not. For single questions; what
 * matches a topic among many filters, the router's tables know. [MQTT 5.0 section 4.7]
 */
export function filterMatches(filter: string, topic: string): boolean {
  const wanted = (parseShared(filter)?.filter ?? filter).split('/')
  const levels = topic.split('/')
  if (topic.startsWith('$') && (wanted[0] === '#' || wanted[0] === '+')) return false // [MQTT-4.7.2-1]
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true
    if (index >= levels.length || (level !== '+' && level !== levels[index])) return false
  }
  return wanted.length === levels.length
}

function isTooLong(topic: string): boolean {
  // A UTF-16 unit takes at most three bytes of UTF-8, so short strings need no counting.
  return topic.length * 3 > MAXIMUM_TOPIC_BYTES && Buffer.byteLength(topic) > MAXIMUM_TOPIC_BYTES
}
