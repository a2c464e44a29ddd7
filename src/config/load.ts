/** The configuration of a node: defaults < file < environment < flags, checked together, frozen. */

import type { z } from 'zod'
import type { CatalogEntry } from './catalog.js'
import { deepFreeze } from './deep-freeze.js'
import { type Config, configSchema } from './options.js'
import { ConfigError, type ConfigProblem, readTextFile } from './problem.js'
import { RULES } from './rules.js'
import {
  type FlagValues,
  type Reading,
  readEnvironment,
  readFile,
  readFlags,
  readObject,
  type Setting,
} from './sources.js'

export { ConfigError, type ConfigProblem } from './problem.js'
export type { FlagValues } from './sources.js'

export interface ConfigSources {
  /** Options of an embedding program, as a file would have them; they count like one. */
  values?: object
  /** Path of a YAML or JSON file. */
  file?: string | undefined
  /** Environment variables; those that start with `SHOALMQ_` are read. */
  env: NodeJS.ProcessEnv
  /** Flags by option key: `{ 'cluster.listen': '127.0.0.1:5370' }`. */
  flags: FlagValues
}

/** A value longer than this is cut in messages. */
const LONGEST_SHOWN_VALUE = 120

/** Secrets that may stand in a file of their own: its key, its path, and where its content goes. */
const SECRET_FILES: readonly {
  key: string
  path(config: Loaded): string
  secret(config: Loaded): string
  put(config: Loaded, secret: string): void
}[] = [
  {
    key: 'cluster.secretFile',
    path: ({ cluster }) => cluster.secretFile,
    secret: ({ cluster }) => cluster.secret,
    put: ({ cluster }, secret) => {
      cluster.secret = secret
    },
  },
  {
    key: 'store.redis.passwordFile',
    path: ({ store }) => store.redis.passwordFile,
    secret: ({ store }) => store.redis.password,
    put: ({ store }, secret) => {
      store.redis.password = secret
    },
  },
  {
    key: 'store.redis.sentinelPasswordFile',
    path: ({ store }) => store.redis.sentinelPasswordFile,
    secret: ({ store }) => store.redis.sentinelPassword,
    put: ({ store }, secret) => {
      store.redis.sentinelPassword = secret
    },
  },
]

type Loaded = z.output<typeof configSchema>

/** The user and the password in a URL: they do not belong there, but an error must not show them all the same. */
const URL_CREDENTIALS = /:\/\/[^/@\s"]*@/g

/**
 * Loads and checks the configuration. A secret has the content of its file, such as `cluster.secret` that of
 * `cluster.secretFile`, when that is set.
 * @throws ConfigError with all problems at once.
 */
export function loadConfig({ values, file, env, flags }: ConfigSources): Config {
  const readings: Reading[] = [readEnvironment(env), readFlags(flags)]
  if (file !== undefined) readings.unshift(readFile(file))
  if (values !== undefined) readings.unshift(readObject(values))
  const problems = readings.flatMap((reading) => reading.problems)

  const settings = new Map<string, Setting>()
  for (const reading of readings) {
    for (const setting of reading.settings) settings.set(setting.option.key, setting)
  }

  const refused = new Set<string>()
  for (const [key, setting] of settings) {
    const problem = checkSetting(setting)
    if (problem === undefined) continue
    problems.push(problem)
    refused.add(key)
    settings.delete(key)
  }

  const config = configSchema.parse(nest(settings.values()))
  for (const { keys, check } of RULES) {
    const key = keys[0]
    if (key === undefined || keys.some((each) => refused.has(each))) continue
    for (const message of check(config)) problems.push({ key, ...originOf(settings.get(key)), message })
  }

  for (const { key, path, secret, put } of SECRET_FILES) {
    if (path(config) === '' || secret(config) !== '') continue
    const read = readSecret(key, path(config), settings.get(key))
    if (typeof read === 'string') put(config, read)
    else problems.push(read)
  }

  if (problems.length > 0) throw new ConfigError(problems)
  return deepFreeze(config)
}

function checkSetting({ option, value, origin }: Setting): ConfigProblem | undefined {
  const result = option.schema.safeParse(value)
  // `undefined` would silently be the default, and null is what YAML makes of a key without a value.
  if (result.success && value !== undefined) return undefined
  const written = writtenValue(option, value)
  return {
    key: option.key,
    ...(written === undefined ? {} : { value: written }),
    origin,
    message: [...new Set([...reasonsOf(result.error), `expected ${option.accepted}`])].join('; '),
  }
}

/** Reasons that our own checks gave; those of the schema itself only repeat what is accepted. */
function reasonsOf(error: z.ZodError | undefined): string[] {
  return error?.issues.filter((issue) => issue.code === 'custom').map((issue) => issue.message) ?? []
}

function writtenValue(option: CatalogEntry, value: unknown): string | undefined {
  if (option.kind === 'secret') return undefined
  const written = (JSON.stringify(value) ?? String(value)).replace(URL_CREDENTIALS, '://***@')
  return written.length > LONGEST_SHOWN_VALUE ? `${written.slice(0, LONGEST_SHOWN_VALUE)}…` : written
}

function originOf(setting: Setting | undefined): { origin: string } {
  return { origin: setting?.origin ?? 'default' }
}

function readSecret(key: string, path: string, setting: Setting | undefined): string | ConfigProblem {
  const problem = { key, value: path, ...originOf(setting) }
  const text = readTextFile(path, problem)
  if (typeof text !== 'string') return text
  return text.trim() === '' ? { ...problem, message: 'the file is empty' } : text.trim()
}

function nest(settings: Iterable<Setting>): Record<string, unknown> {
  const root: Record<string, unknown> = {}
  for (const { option, value } of settings) {
    let level = root
    for (const name of option.path.slice(0, -1)) {
      level[name] ??= {}
      level = level[name] as Record<string, unknown>
    }
    level[option.path.at(-1) ?? ''] = value
  }
  return root
}
