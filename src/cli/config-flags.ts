/** The configuration on the command line: every option of the catalog that has a flag, and `--config`. */

import { type Command, Option } from 'commander'
import { CATALOG, type CatalogEntry } from '../config/catalog.js'
import { loadConfig } from '../config/load.js'
import type { Config } from '../config/options.js'
import type { FlagValues } from '../config/sources.js'

/** Parsed flags by commander's names, as `loadFromFlags` wants them. */
export type ParsedFlags = Readonly<Record<string, string | string[] | boolean | undefined>>

const FLAG_OPTIONS: readonly CatalogEntry[] = CATALOG.filter((entry) => entry.flag !== undefined)

/** Adds `--config` and the flags to a command. */
export function addConfigFlags(command: Command): Command {
  command.addOption(new Option('-c, --config <file>', 'configuration file (YAML or JSON)').env('SHOALMQ_CONFIG'))
  for (const entry of FLAG_OPTIONS) command.addOption(flagOption(entry))
  return command
}

/** Path of the file that was asked for. */
export function configFile(flags: ParsedFlags): string | undefined {
  return typeof flags.config === 'string' ? flags.config : undefined
}

/**
 * Loads the configuration of file, environment and these flags.
 * @throws ConfigError
 */
export function loadFromFlags(flags: ParsedFlags, env: NodeJS.ProcessEnv): Config {
  const values: Record<string, FlagValues[string]> = {}
  for (const entry of FLAG_OPTIONS) values[entry.key] = flags[flagOption(entry).attributeName()]
  return loadConfig({ file: configFile(flags), env, flags: values })
}

function flagOption(entry: CatalogEntry): Option {
  const { flag = '', kind, help } = entry
  const description = `${help.replaceAll('`', '')} [${entry.environmentName}, default ${entry.fallback || 'none'}]`
  switch (kind) {
    case 'boolean':
      return new Option(flag, description)
    case 'list':
      return new Option(`${flag} <list>`, `${description} (repeat it or separate by commas)`).argParser(collect)
    default:
      return new Option(`${flag} <${kind === 'choice' ? 'word' : 'value'}>`, description)
  }
}

function collect(value: string, before: string[] | undefined): string[] {
  const items = value.split(',').map((item) => item.trim())
  return [...(before ?? []), ...items.filter((item) => item !== '')]
}
