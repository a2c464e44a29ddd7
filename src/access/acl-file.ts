/**
 * The ACL file, YAML:
 *
 *   otherwise: deny
 *   rules:
 *     - allow: publish
 *       username: [sensor-1, sensor-2]
 *       topics: ['sensors/${username}/#']
 *
 * Rules are tried in their order and the first that matches decides. See docs/operations.md.
 */

import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { IpAddressError, IpAddressSet, parseIpRange } from '../util/ip-address.js'
import { AccessFileError, type FileProblem, originOf } from './access-file.js'
import { type AclAction, type AclRule, EVERY_QOS } from './acl-rule.js'
import { NamePattern } from './name-pattern.js'
import { TopicTemplate } from './topic-template.js'

export interface AclFile {
  readonly rules: readonly AclRule[]
  readonly allowsOtherwise: boolean
  /** Where `otherwise` is said, or that it is not. */
  readonly otherwiseOrigin: string
}

const ACTIONS: readonly AclAction[] = ['publish', 'subscribe', 'all']
const FILE_KEYS = ['otherwise', 'rules']
const RULE_KEYS = ['allow', 'deny', 'username', 'clientId', 'address', 'anonymous', 'qos', 'retain', 'topics']

/**
 * Reads the text of an ACL file.
 * @param path for messages and for the origins of rules.
 * @throws AccessFileError with all problems and their lines.
 */
export function parseAcl(text: string, path: string): AclFile {
  const reader = new AclReader(text, path)
  const file = reader.read()
  if (reader.problems.length > 0) {
    throw AccessFileError.invalid(
      path,
      reader.problems.sort((left, right) => (left.line ?? 0) - (right.line ?? 0)),
    )
  }
  return file
}

/** A key of a mapping with its value. */
interface Entry {
  readonly key: Node
  readonly value: Node | null
}

class AclReader {
  readonly problems: FileProblem[] = []
  private readonly lines = new LineCounter()
  private readonly document: Document.Parsed

  constructor(
    text: string,
    private readonly path: string,
  ) {
    this.document = parseDocument(text, { lineCounter: this.lines, prettyErrors: false })
  }

  read(): AclFile {
    const file = { rules: [] as AclRule[], allowsOtherwise: false, otherwiseOrigin: 'otherwise: deny (the default)' }
    for (const error of this.document.errors) {
      this.problems.push({ line: this.lines.linePos(error.pos[0]).line, message: error.message.trim() })
    }
    if (this.problems.length > 0) return file
    const root = this.document.contents
    if (!isMap(root)) {
      this.report(root, "expected the keys rules and otherwise, as in 'otherwise: deny'")
      return file
    }
    const entries = this.entriesOf(root, FILE_KEYS)
    const otherwise = entries.get('otherwise')
    if (otherwise !== undefined) {
      file.allowsOtherwise = this.word(otherwise, 'otherwise', ['allow', 'deny']) === 'allow'
      const origin = originOf(this.path, this.lineOf(otherwise.key))
      file.otherwiseOrigin = `otherwise: ${file.allowsOtherwise ? 'allow' : 'deny'} (${origin})`
    }
    const rules = entries.get('rules')
    if (rules !== undefined) file.rules = this.rules(rules)
    return file
  }

  private rules({ key, value }: Entry): AclRule[] {
    // `rules:` with nothing below it is a list of none.
    if (value === null || (isScalar(value) && value.value === null)) return []
    if (!isSeq(value)) {
      this.report(value ?? key, 'rules: expected a list, each item beginning with "- allow:" or "- deny:"')
      return []
    }
    return value.items.map((item) => this.rule(this.resolve(item))).filter((rule) => rule !== undefined)
  }

  private rule(node: Node | null): AclRule | undefined {
    if (!isMap(node)) {
      this.report(node, 'a rule has keys, as in "- allow: publish"')
      return undefined
    }
    const before = this.problems.length
    const entries = this.entriesOf(node, RULE_KEYS)
    const allow = entries.get('allow')
    const deny = entries.get('deny')
    const effect = allow ?? deny
    if (effect === undefined || (allow !== undefined && deny !== undefined)) {
      this.report(node, `a rule has either allow or deny, with one of ${ACTIONS.join(', ')}`)
      return undefined
    }
    const action = this.word(effect, allow === undefined ? 'deny' : 'allow', ACTIONS)
    const subject = {
      usernames: this.names(entries, 'username'),
      clientIds: this.names(entries, 'clientId'),
      addresses: this.addresses(entries.get('address')),
      isAnonymous: this.flag(entries, 'anonymous'),
    }
    const anonymous = entries.get('anonymous')
    if (subject.isAnonymous === true && subject.usernames !== undefined && anonymous !== undefined) {
      this.report(anonymous.key, 'anonymous: true and username exclude each other: no client is both')
    }
    const retain = this.flag(entries, 'retain')
    const retainEntry = entries.get('retain')
    if (retainEntry !== undefined && action !== undefined && action !== 'publish') {
      this.report(retainEntry.key, `retain is about messages: it goes with publish, not with ${action}`)
    }
    const topics = this.topics(entries.get('topics'))
    const qosMask = this.qosMask(entries.get('qos'))
    if (this.problems.length > before || action === undefined) return undefined
    const origin = originOf(this.path, this.lineOf(node))
    return { isAllow: allow !== undefined, action, subject, topics, qosMask, retain, origin }
  }

  private names(entries: ReadonlyMap<string, Entry>, name: 'username' | 'clientId'): NamePattern[] | undefined {
    const entry = entries.get(name)
    if (entry === undefined) return undefined
    return this.items(entry, `${name}: expected a text, or a list of texts; * stands for any text`).map(
      ({ text }) => new NamePattern(text),
    )
  }

  private addresses(entry: Entry | undefined): IpAddressSet | undefined {
    if (entry === undefined) return undefined
    const accepted = 'address: expected an IP address or a network, as in 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32'
    const ranges = this.items(entry, accepted).filter(({ text, node }) => {
      const problem = rangeProblem(text)
      if (problem !== undefined) this.report(node, `${accepted}; ${problem}`)
      return problem === undefined
    })
    return new IpAddressSet(ranges.map(({ text }) => text))
  }

  private topics(entry: Entry | undefined): TopicTemplate[] | undefined {
    if (entry === undefined) return undefined
    const accepted = "topics: expected topic filters, as in ['sensors/%c/#', 'eq #']"
    return this.items(entry, accepted).flatMap(({ text, node }) => {
      const problem = TopicTemplate.problemOf(text)
      if (problem === undefined) return [TopicTemplate.parse(text)]
      this.report(node, `topics: ${text}: ${problem}`)
      return []
    })
  }

  private qosMask(entry: Entry | undefined): number {
    if (entry === undefined) return EVERY_QOS
    const accepted = 'qos: expected 0, 1 or 2, or a list of them'
    let mask = 0
    for (const { text, node } of this.items(entry, accepted)) {
      if (/^[012]$/.test(text)) mask |= 1 << Number(text)
      else this.report(node, accepted)
    }
    return mask
  }

  private flag(entries: ReadonlyMap<string, Entry>, name: string): boolean | undefined {
    const entry = entries.get(name)
    if (entry === undefined) return undefined
    if (isScalar(entry.value) && typeof entry.value.value === 'boolean') return entry.value.value
    this.report(entry.key, `${name}: expected true or false`)
    return undefined
  }

  private word<T extends string>({ key, value }: Entry, name: string, words: readonly T[]): T | undefined {
    const word = isScalar(value) ? words.find((each) => each === value.value) : undefined
    if (word === undefined) this.report(value ?? key, `${name}: expected one of ${words.join(', ')}`)
    return word
  }

  /** A text, or several in a list; numbers are texts too, since YAML reads the client ID 4711 as one. */
  private items({ key, value }: Entry, accepted: string): { text: string; node: Node }[] {
    const nodes = isSeq(value) ? value.items.map((item) => this.resolve(item)) : [value]
    if (nodes.length === 0) this.report(key, `${accepted}; the list is empty`)
    return nodes.flatMap((node) => {
      const isText = isScalar(node) && (typeof node.value === 'string' || typeof node.value === 'number')
      if (isText && node.value !== '') {
        // The source keeps what a number would lose: 007 and 1.0.
        const text = typeof node.value === 'number' ? (node.source ?? String(node.value)) : String(node.value)
        return [{ text, node }]
      }
      this.report(node ?? key, accepted)
      return []
    })
  }

  private entriesOf(map: Node & { items: unknown[] }, keys: readonly string[]): Map<string, Entry> {
    const entries = new Map<string, Entry>()
    for (const pair of map.items as { key: unknown; value: unknown }[]) {
      const key = this.resolve(pair.key)
      const name = isScalar(key) ? String(key.value) : ''
      if (key === null || !keys.includes(name)) {
        this.report(key ?? map, `unknown key ${name}; expected ${keys.join(', ')}`)
      } else entries.set(name, { key, value: this.resolve(pair.value) })
    }
    return entries
  }

  private resolve(node: unknown): Node | null {
    if (isAlias(node)) return (node.resolve(this.document) as Node | undefined) ?? null
    return (node as Node | null | undefined) ?? null
  }

  private report(node: Node | null | undefined, message: string): void {
    this.problems.push({ line: node === null || node === undefined ? undefined : this.lineOf(node), message })
  }

  private lineOf(node: Node): number {
    return this.lines.linePos(node.range?.[0] ?? 0).line
  }
}

function rangeProblem(text: string): string | undefined {
  try {
    parseIpRange(text)
    return undefined
  } catch (error) {
    if (error instanceof IpAddressError) return error.message
    throw error
  }
}
