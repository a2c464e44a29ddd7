import fc from 'fast-check'

/**
 * The rules of matching, written as plainly as the specification puts them, to judge the trie by.
 * [MQTT 5.0 section 4.7]
 */
export function matchesNaively(filter: string, topic: string): boolean {
  const wanted = filter.split('/')
  const given = topic.split('/')
  if (topic.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false
  for (const [index, level] of wanted.entries()) {
    if (level === '#' && index === wanted.length - 1) return given.length >= index
    if (index >= given.length) return false
    if (level !== '+' && level !== given[index]) return false
  }
  return wanted.length === given.length
}

/** Few names, so that filters and topics meet; among them those that trip a plain object, and one too long to be inlined. */
const NAMES = ['a', 'b', 'ab', '', '$SYS', '$', '__proto__', 'constructor', 'a-name-of-more-than-thirteen', 'ü😀']

const name = fc.constantFrom(...NAMES)

export const topics = fc.array(name, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'))

const filterLevel = fc.oneof({ weight: 3, arbitrary: name }, { weight: 2, arbitrary: fc.constant('+') })

export const filters = fc
  .tuple(fc.array(filterLevel, { maxLength: 4 }), fc.boolean(), filterLevel)
  .map(([levels, hasRest, last]) => [...levels, hasRest ? '#' : last].join('/'))
