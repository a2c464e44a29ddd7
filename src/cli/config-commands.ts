/** `shoalmq config check` and `shoalmq config show`. */

import { stringify } from 'yaml'
import { CATALOG, type CatalogEntry } from '../config/catalog.js'
import type { Config } from '../config/options.js'
import { formatDuration, formatSize } from '../config/units.js'
import { configFile, loadFromFlags, type ParsedFlags } from './config-flags.js'

/**
 * A summary of a configuration that is fine.
 * @throws ConfigError with all problems.
 */
export function checkConfig(flags: ParsedFlags, env: NodeJS.ProcessEnv): string {
  const config = loadFromFlags(flags, env)
  const cluster =
    config.cluster.listen === ''
      ? 'off'
      : `${config.cluster.name} on ${config.cluster.listen}, ${config.cluster.secret === '' ? 'no secret' : 'with a secret'}`
  return [
    `ok: ${configFile(flags) ?? 'no file; defaults, environment and flags'}`,
    `  node     ${config.name}`,
    `  listen   ${config.listen.join(', ')}${config.allowAnonymous ? ' (anonymous clients allowed)' : ''}`,
    `  admin    ${config.admin.listen}`,
    `  cluster  ${cluster}`,
    `  data     ${config.data}`,
  ].join('\n')
}

/**
 * The whole configuration as a file that would give the same, without the secret.
 * @throws ConfigError with all problems.
 */
export function showConfig(flags: ParsedFlags, env: NodeJS.ProcessEnv): string {
  const config = loadFromFlags(flags, env)
  const shown: Record<string, unknown> = {}
  for (const entry of CATALOG) {
    if (entry.kind === 'secret') continue
    let level = shown
    for (const name of entry.path.slice(0, -1)) {
      level[name] ??= {}
      level = level[name] as Record<string, unknown>
    }
    level[entry.path.at(-1) ?? ''] = shownValue(entry, valueAt(config, entry.path))
  }
  const isSecretHidden = config.cluster.secret !== '' && config.cluster.secretFile === ''
  return `${isSecretHidden ? '# cluster.secret is set, and not shown\n' : ''}${stringify(shown).trimEnd()}`
}

function valueAt(config: Config, path: readonly string[]): unknown {
  return path.reduce<unknown>((level, name) => (level as Record<string, unknown>)[name], config)
}

function shownValue({ kind }: CatalogEntry, value: unknown): unknown {
  if (kind === 'duration') return formatDuration(Number(value))
  if (kind === 'size') return formatSize(Number(value))
  return value
}
