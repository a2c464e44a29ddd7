/**
 * How topic filters lie to each other: one inside the other, or with topics in common. Filters are lists of levels,
 * as `filter.split('/')` gives them; they must be sound, and not shared ones. The empty topic, which nobody
 * can publish to, counts as a topic here: where that matters, less is covered and more overlaps. [MQTT 5.0 section 4.7]
 */

/**
 * Whether every topic that `inner` matches is matched by `outer` too. A topic name is a filter that matches itself,
 * so this also tells whether a filter matches a topic.
 */
export function covers(outer: readonly string[], inner: readonly string[]): boolean {
  // A topic has one level at least, so that the filter of everything and the filter of one level or more are the same.
  if (inner.length === 1 && inner[0] === '#' && outer[0] === '+') return outer.length === 2 && outer[1] === '#'
  for (let i = 0; ; i++) {
    const level = outer[i]
    const other = inner[i]
    if (i === 0 && isWildcard(level) && isReserved(other)) return false
    if (level === '#') return true
    if (level === undefined || other === undefined) return level === other
    if (other === '#') return false
    if (level !== '+' && level !== other) return false
  }
}

/** Whether there is a topic that both filters match. */
export function overlaps(left: readonly string[], right: readonly string[]): boolean {
  for (let i = 0; ; i++) {
    const level = left[i]
    const other = right[i]
    if (i === 0 && ((isWildcard(level) && isReserved(other)) || (isWildcard(other) && isReserved(level)))) return false
    if (level === '#' || other === '#') return true
    if (level === undefined || other === undefined) return level === other
    if (level !== '+' && other !== '+' && level !== other) return false
  }
}

function isWildcard(level: string | undefined): boolean {
  return level === '#' || level === '+'
}

/** A wildcard at the beginning does not match topics that begin with a dollar sign. [MQTT-4.7.2-1] */
function isReserved(level: string | undefined): boolean {
  return level?.startsWith('$') === true
}
