/** All options as a flat list, read from the schema: for loading, for `--help` and for the documentation. */

import { z } from 'zod'
import { listenerSchema } from './listener-options.js'
import { OPTION_METADATA, type OptionMetadata } from './option.js'
import { configSchema } from './options.js'

/** All environment variables of ours start with this. */
export const ENVIRONMENT_PREFIX = 'SHOALMQ_'

export interface CatalogEntry extends OptionMetadata {
  /** With dots between levels: `cluster.heartbeatInterval`. */
  key: string
  path: readonly string[]
  /** `SHOALMQ_CLUSTER__HEARTBEAT_INTERVAL` */
  environmentName: string
  schema: z.ZodType
}

/** Every option, in the order of the schema. */
export const CATALOG: readonly CatalogEntry[] = [...entriesOf(configSchema, [])]

/** The options of one listener: what an object in `listen` may say. */
export const LISTENER_CATALOG: readonly CatalogEntry[] = [...entriesOf(listenerSchema, ['listen[]'])]

const BY_KEY: ReadonlyMap<string, CatalogEntry> = new Map(CATALOG.map((entry) => [entry.key, entry]))

/** Keys that hold options rather than being one: `cluster`, `cluster.dns`. */
export const GROUPS: ReadonlySet<string> = new Set(
  CATALOG.flatMap(({ path }) => path.slice(0, -1).map((_, depth) => path.slice(0, depth + 1).join('.'))),
)

const BY_ENVIRONMENT_LEVELS: ReadonlyMap<string, CatalogEntry> = new Map(
  CATALOG.map((entry) => [entry.key.toLowerCase(), entry]),
)

/** The option with this key, with dots between levels. */
export function optionByKey(key: string): CatalogEntry | undefined {
  return BY_KEY.get(key)
}

/**
 * The option that a variable names: `__` between levels, letters of any case, and `_` within a level wherever one
 * likes, so that both HEARTBEAT_INTERVAL and HEARTBEATINTERVAL are heartbeatInterval.
 */
export function optionByEnvironmentName(name: string): CatalogEntry | undefined {
  const levels = name.slice(ENVIRONMENT_PREFIX.length).toLowerCase().split('__')
  return BY_ENVIRONMENT_LEVELS.get(levels.map((level) => level.replaceAll('_', '')).join('.'))
}

/** `SHOALMQ_CLUSTER__HEARTBEAT_INTERVAL` of `['cluster', 'heartbeatInterval']`. */
export function environmentName(path: readonly string[]): string {
  const levels = path.map((level) => level.replace(/[A-Z]/g, '_$&').toUpperCase())
  return ENVIRONMENT_PREFIX + levels.join('__')
}

function* entriesOf(schema: z.ZodObject, path: readonly string[]): Generator<CatalogEntry> {
  for (const [name, inner] of Object.entries(schema.shape)) {
    const innerPath = [...path, name]
    const group = inner instanceof z.ZodPrefault ? inner.unwrap() : inner
    if (group instanceof z.ZodObject) {
      yield* entriesOf(group, innerPath)
      continue
    }
    const metadata = OPTION_METADATA.get(inner)
    if (metadata === undefined) throw new TypeError(`option ${innerPath.join('.')} has no metadata`)
    yield {
      ...metadata,
      key: innerPath.join('.'),
      path: innerPath,
      environmentName: environmentName(innerPath),
      schema: inner as z.ZodType,
    }
  }
}
