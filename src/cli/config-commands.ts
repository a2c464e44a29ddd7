/** `shoalmq config check` and `shoalmq config show`. */

import { stringify } from 'yaml'
import { AccessFileError } from '../access/access-file.js'
import { parseAcl } from '../access/acl-file.js'
import { parseUsers } from '../access/users-file.js'
import { readText } from '../access/watched-file.js'
import { CATALOG, type CatalogEntry } from '../config/catalog.js'
import { listenerSettings } from '../config/listener-options.js'
import { ConfigError, type ConfigProblem } from '../config/load.js'
import type { AccessOptions, Config } from '../config/options.js'
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
  const access = checkAccessFiles(config.access)
  return [
    `ok: ${configFile(flags) ?? 'no file; defaults, environment and flags'}`,
    `  node     ${config.name}`,
    `  listen   ${listenerSettings(config)
      .map(({ url }) => url)
      .join(', ')}${config.allowAnonymous ? ' (anonymous clients allowed)' : ''}`,
    `  admin    ${config.admin.listen}`,
    `  cluster  ${cluster}`,
    `  data     ${config.data}`,
    ...access.map((line) => `  ${line}`),
  ].join('\n')
}

/** A line for each file of access that is configured. @throws ConfigError with the problems of both. */
function checkAccessFiles({ usersFile, aclFile }: AccessOptions): string[] {
  const problems: ConfigProblem[] = []
  const summary = (key: string, path: string, read: (text: string) => string): string[] => {
    if (path === '') return []
    try {
      return [read(readText(path))]
    } catch (error) {
      if (!(error instanceof AccessFileError)) throw error
      problems.push(...error.details.problems.map((message) => ({ key, message })))
      return []
    }
  }
  const lines = [
    ...summary('access.usersFile', usersFile, (text) => `users    ${parseUsers(text, usersFile).size} in ${usersFile}`),
    ...summary('access.aclFile', aclFile, (text) => `rules    ${parseAcl(text, aclFile).rules.length} in ${aclFile}`),
  ]
  if (problems.length > 0) throw new ConfigError(problems)
  return lines
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
