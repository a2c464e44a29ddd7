/** `shoalmq acl check`: what the rules say about one client and one topic, without a client. */

import { isIP } from 'node:net'
import { AccessFileError } from '../access/access-file.js'
import { parseAcl } from '../access/acl-file.js'
import { ruleSetOf } from '../access/file-access.js'
import type { Decision } from '../access/rule-set.js'
import { readText } from '../access/watched-file.js'
import { topicFilterProblem, topicNameProblem } from '../mqtt/wire/topic.js'
import { CliError, EXIT_CODES, type ExitCode } from './cli-error.js'
import { loadFromFlags } from './config-flags.js'

export interface AclCheckFlags {
  config?: string
  file?: string
  username?: string
  clientId: string
  address: string
  qos: number
  retain?: true
}

export type AclCheckAction = 'publish' | 'subscribe'

/**
 * What is decided, and by which line.
 * @throws CliError, ConfigError
 */
export function checkAcl(
  action: AclCheckAction,
  topic: string,
  flags: AclCheckFlags,
  env: NodeJS.ProcessEnv,
): { text: string; code: ExitCode } {
  const problem = action === 'publish' ? topicNameProblem(topic) : topicFilterProblem(topic)
  if (problem !== undefined) throw new CliError(problem, EXIT_CODES.usage)
  if (isIP(flags.address) === 0) throw new CliError(`--address ${flags.address} is no IP address`, EXIT_CODES.usage)
  const { isAllowed, origin } = decide(action, topic, flags, env)
  return { text: `${isAllowed ? 'allowed' : 'denied'}: ${origin}`, code: isAllowed ? EXIT_CODES.ok : EXIT_CODES.denied }
}

function decide(action: AclCheckAction, topic: string, flags: AclCheckFlags, env: NodeJS.ProcessEnv): Decision {
  if (action === 'publish' && topic.startsWith('$SYS/')) {
    return { isAllowed: false, origin: '$SYS topics are published by the broker alone' }
  }
  const { username, clientId, address, qos, retain = false } = flags
  const { access } = loadFromFlags({ config: flags.config }, env)
  const path = flags.file ?? access.aclFile
  try {
    const rules = ruleSetOf(path === '' ? undefined : parseAcl(readText(path), path), access)
    const bound = rules.bind({ clientId, username, address })
    return action === 'publish'
      ? rules.explainPublish(bound, topic, qos, retain)
      : rules.explainSubscribe(bound, topic, qos)
  } catch (error) {
    if (error instanceof AccessFileError) throw new CliError(error.message, EXIT_CODES.failure, { cause: error })
    throw error
  }
}
