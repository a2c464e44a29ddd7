/** What access counts: how logins end, how many wait, and what became of the files. */

import type { Counter, MetricRegistry } from '../telemetry/registry.js'

/** How a login ended. */
export const LOGIN_OUTCOMES = [
  /** The password was hashed and is right. */
  'verified',
  /** The same password was right a short time ago: not hashed again. */
  'remembered',
  /** Without a user name, where `allowAnonymous` lets it in; or there is no users file. */
  'anonymous',
  'wrong_password',
  'unknown_user',
  /** Without a user name, where one is needed. */
  'anonymous_refused',
  /** More wait for their password to be checked than `access.loginQueue`. */
  'busy',
  /** The client was gone before its turn. */
  'abandoned',
  /** The check itself failed, for want of memory for example. */
  'failed',
] as const

export type LoginEnd = (typeof LOGIN_OUTCOMES)[number]

/** What became of a changed file. */
export const RELOAD_OUTCOMES = ['users_applied', 'users_refused', 'acl_applied', 'acl_refused'] as const

/** What the gauges read. */
export interface AccessGauges {
  queueLength(): number
  users(): number
  rules(): number
  /** Files whose newest content was refused, so that an older one is in force. */
  staleFiles(): number
}

export interface AccessMetrics {
  readonly logins: Record<LoginEnd, Counter>
  readonly reloads: Record<(typeof RELOAD_OUTCOMES)[number], Counter>
  bind(gauges: AccessGauges): void
}

export function createAccessMetrics(registry: MetricRegistry): AccessMetrics {
  let gauges: AccessGauges | undefined
  const gauge = (name: string, help: string, read: (from: AccessGauges) => number): void => {
    registry.gauge({ name, help }, () => (gauges === undefined ? 0 : read(gauges)))
  }
  gauge('login_queue_length', 'Logins that wait for their password to be checked.', (from) => from.queueLength())
  gauge('access_users', 'Users of the users file in force.', (from) => from.users())
  gauge('access_rules', 'Rules of the ACL file in force.', (from) => from.rules())
  gauge('access_files_stale', 'Files of access whose newest content was refused: an older one is in force.', (from) =>
    from.staleFiles(),
  )
  return {
    logins: registry.counters(
      { name: 'logins_total', help: 'Logins by user name and password, or without them, by how they ended.' },
      'outcome',
      LOGIN_OUTCOMES,
    ),
    reloads: registry.counters(
      { name: 'access_reloads_total', help: 'Changed users and ACL files, applied or refused.' },
      'outcome',
      RELOAD_OUTCOMES,
    ),
    bind(from) {
      gauges = from
    },
  }
}
