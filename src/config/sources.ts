/** Where values come from: a file, the environment and flags; each read into the same list of settings. */

import { isMap, LineCounter, parseDocument } from 'yaml'
import {
  CATALOG,
  type CatalogEntry,
  ENVIRONMENT_PREFIX,
  GROUPS,
  optionByEnvironmentName,
  optionByKey,
} from './catalog.js'
import { type ConfigProblem, readTextFile } from './problem.js'
import { closest } from './suggestion.js'

/** One value that somebody wrote down. */
export interface Setting {
  option: CatalogEntry
  /** As written in the file; texts of the environment and of flags are already in the kind of the option. */
  value: unknown
  /** Completes "from …". */
  origin: string
}

export interface Reading {
  settings: Setting[]
  problems: ConfigProblem[]
}

/** Values of flags by option key: a text, several texts, or true for a flag without a value. */
export type FlagValues = Readonly<Record<string, string | readonly string[] | boolean | undefined>>

/** Variables that are ours but are no options: they belong to the client commands and to `shoalmq start` itself. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set(['SHOALMQ_ADMIN', 'SHOALMQ_CONFIG'])

/**
 * Kubernetes gives every container variables about each Service, and a Service that is called shoalmq makes them look
 * like ours: SHOALMQ_SERVICE_HOST, SHOALMQ_PORT_1883_TCP_ADDR and so on. https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
const SERVICE_LINK = /^SHOALMQ_([A-Z0-9]+_)*(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_[A-Z]+(_[A-Z]+)?)?)$/

/** Reads a YAML or JSON file (JSON is YAML). */
export function readFile(path: string): Reading {
  const reading: Reading = { settings: [], problems: [] }
  const text = readTextFile(path, { key: path })
  if (typeof text !== 'string') return { settings: [], problems: [text] }
  const lineCounter = new LineCounter()
  // Not the pretty errors: they quote the line, and the line may hold the secret.
  const document = parseDocument(text, { lineCounter, prettyErrors: false })
  for (const error of document.errors) {
    const { line, col } = lineCounter.linePos(error.pos[0])
    reading.problems.push({ key: `${path}:${line}:${col}`, message: error.message.trim() })
  }
  if (reading.problems.length > 0 || document.contents === null) return reading
  if (!isMap(document.contents)) {
    reading.problems.push({ key: path, message: 'expected keys and values, as in "name: n1@127.0.0.1"' })
    return reading
  }
  const originOf = (keyPath: readonly string[]): string => {
    const node = document.getIn(keyPath, true)
    const range = typeof node === 'object' && node !== null && 'range' in node ? (node.range as number[] | null) : null
    const offset = range?.[0]
    return offset === undefined ? path : `${path}:${lineCounter.linePos(offset).line}`
  }
  readLevel(document.toJS() as Record<string, unknown>, [], originOf, reading)
  return reading
}

/** Reads the options of an embedding program, keys and values as in a file. */
export function readObject(values: object): Reading {
  const reading: Reading = { settings: [], problems: [] }
  readLevel(values as Record<string, unknown>, [], () => 'option', reading)
  return reading
}

/** Reads the variables that start with `SHOALMQ_`. */
export function readEnvironment(environment: NodeJS.ProcessEnv): Reading {
  const reading: Reading = { settings: [], problems: [] }
  const seen = new Map<string, string>()
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith(ENVIRONMENT_PREFIX) || text === undefined) continue
    if (OTHER_VARIABLES.has(name) || SERVICE_LINK.test(name)) continue
    const option = optionByEnvironmentName(name)
    const origin = `environment variable ${name}`
    if (option === undefined) {
      const names = CATALOG.map((entry) => entry.environmentName)
      reading.problems.push({ key: name, message: `unknown variable${hint(closest(name, names))}` })
      continue
    }
    const before = seen.get(option.key)
    seen.set(option.key, name)
    if (before !== undefined) reading.problems.push({ key: option.key, message: `both ${before} and ${name} set it` })
    reading.settings.push({ option, value: fromText(option, text), origin })
  }
  return reading
}

/** Reads flags, given by option key. */
export function readFlags(flags: FlagValues): Reading {
  const reading: Reading = { settings: [], problems: [] }
  for (const [key, value] of Object.entries(flags)) {
    if (value === undefined) continue
    const option = optionByKey(key)
    if (option?.flag === undefined) {
      reading.problems.push({ key, message: 'there is no flag for this key' })
      continue
    }
    const typed = typeof value === 'string' ? fromText(option, value) : value
    reading.settings.push({ option, value: typed, origin: `flag ${option.flag}` })
  }
  return reading
}

function readLevel(
  level: Record<string, unknown>,
  path: readonly string[],
  originOf: (keyPath: readonly string[]) => string,
  reading: Reading,
): void {
  for (const [name, value] of Object.entries(level)) {
    const keyPath = [...path, name]
    const key = keyPath.join('.')
    const option = optionByKey(key)
    if (option !== undefined) {
      reading.settings.push({ option, value, origin: originOf(keyPath) })
    } else if (!GROUPS.has(key)) {
      reading.problems.push({ key, origin: originOf(keyPath), message: `unknown key${hint(nearestKey(key))}` })
    } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      readLevel(value as Record<string, unknown>, keyPath, originOf, reading)
    } else if (value !== null) {
      reading.problems.push({ key, origin: originOf(keyPath), message: 'expected keys and values below it' })
    }
  }
}

/** The nearest key by its whole name, or by its last level when somebody put it into the wrong group. */
function nearestKey(key: string): string | undefined {
  const keys = CATALOG.map((entry) => entry.key)
  const lastLevel = key.split('.').at(-1)
  return keys.find((candidate) => candidate.split('.').at(-1) === lastLevel) ?? closest(key, [...keys, ...GROUPS])
}

function hint(suggestion: string | undefined): string {
  return suggestion === undefined ? '' : `; did you mean ${suggestion}?`
}

/** A text in the kind of the option; what does not fit stays a text, for the schema to refuse. */
function fromText(option: CatalogEntry, text: string): unknown {
  switch (option.kind) {
    case 'list':
      return text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
    case 'choices':
      return choicesOf(text)
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text
    case 'count':
      return /^\d+$/.test(text) ? Number(text) : text
    case 'records':
    case 'text':
    case 'secret':
    case 'choice':
    case 'duration':
    case 'size':
      return text
  }
}

/** `name=word, name=word`; a part without `=` is a name without a word, which no schema accepts. */
function choicesOf(text: string): Record<string, string> {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
  return Object.fromEntries(parts.map((part) => part.split('=', 2).map((side) => side.trim()) as [string, string]))
}
