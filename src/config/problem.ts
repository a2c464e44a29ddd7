/** What is wrong with a configuration, said so that it can be mended without reading anything else. */

import { readFileSync } from 'node:fs'

export interface ConfigProblem {
  /** The key, such as `cluster.heartbeatInterval`; the file's path when the file itself is the problem. */
  key: string
  /** The value as it was written; undefined when there is none or it may not be shown. */
  value?: string
  /** Where the value came from, such as `shoalmq.yaml:12` or `environment variable SHOALMQ_NAME`. */
  origin?: string
  /** What is wrong and what is accepted. */
  message: string
}

/** A configuration that cannot be used, with all its problems. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly code = 'CONFIG_INVALID'

  constructor(readonly problems: readonly ConfigProblem[]) {
    const title = problems.length === 1 ? '1 problem' : `${problems.length} problems`
    super([`${title} in the configuration:`, ...problems.map((problem) => `  - ${problemText(problem)}`)].join('\n'))
  }
}

/** One line: key, value, origin, message. */
function problemText({ key, value, origin, message }: ConfigProblem): string {
  const written = value === undefined ? '' : ` is ${value}`
  const from = origin === undefined ? '' : ` (${origin})`
  return `${key}${written}${from}: ${message}`
}

/**
 * The text of a file, or the problem that it cannot be read, under the given key.
 */
export function readTextFile(path: string, problem: Omit<ConfigProblem, 'message'>): string | ConfigProblem {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    return { ...problem, message: unreadableReason(error) }
  }
}

/** Why a file could not be read. */
export function unreadableReason(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOENT' ? 'there is no such file' : `the file cannot be read (${code ?? String(error)})`
}
