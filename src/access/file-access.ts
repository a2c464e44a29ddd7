/** Access by files: a users file says who may come in, an ACL file what each may do. Either may be missing. */

import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { Access, ClientIdentity, Login, LoginOutcome } from '../broker/ports.js'
import type { AccessOptions } from '../config/options.js'
import type { EnhancedAuthenticator } from '../mqtt/authenticator.js'
import type { ClientRights } from '../mqtt/host.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import { asError } from '../util/errors.js'
import { IpAddressSet } from '../util/ip-address.js'
import { AccessFileError } from './access-file.js'
import { type AclFile, parseAcl } from './acl-file.js'
import { AclRights, type DenialListener, type RuleSource } from './acl-rights.js'
import { type AclRule, EVERY_QOS } from './acl-rule.js'
import type { AccessMetrics } from './metrics.js'
import { PasswordChecker, type PasswordVerdict } from './password-checker.js'
import { RuleSet } from './rule-set.js'
import { type ScramCredentials, type ScramOptions, ScramSha256 } from './scram.js'
import { DEFAULT_SCRAM_ITERATIONS } from './scram-verifier.js'
import { TopicTemplate } from './topic-template.js'
import { readUsers, type Users } from './users-file.js'
import { WatchedFile } from './watched-file.js'

export interface FileAccessOptions extends AccessOptions {
  /** Whether clients without a user name may come in where there is a users file. */
  readonly allowAnonymous: boolean
}

export interface FileAccessModules {
  readonly metrics: AccessMetrics
  readonly log: Logger
}

const NO_PASSWORD = new Uint8Array(0)
const ANONYMOUS: LoginOutcome = { isAdmitted: true, isProven: false }
const PROVEN: LoginOutcome = { isAdmitted: true, isProven: true }

export class FileAccess implements Access, RuleSource {
  readonly limitsPublish: boolean
  /** The rules in force. */
  current: RuleSet
  /** Called after the users or the rules have changed. */
  onChange: () => void = () => undefined
  /** SCRAM-SHA-256 where there is a users file. */
  readonly authenticators: readonly EnhancedAuthenticator[]
  private users: Users = new Map()
  /** Users that the file had at some time, and has no more. */
  private readonly removed = new Set<string>()
  private scramExample: ScramCredentials | undefined
  private readonly saltKey = randomBytes(32)
  private readonly checker: PasswordChecker
  private readonly usersFile: WatchedFile | undefined
  private readonly aclFile: WatchedFile | undefined

  constructor(
    private readonly options: FileAccessOptions,
    private readonly modules: FileAccessModules,
  ) {
    const { usersFile, aclFile, reloadInterval: interval } = options
    const { metrics, log } = modules
    this.limitsPublish = aclFile !== ''
    this.current = ruleSetOf(undefined, options)
    this.checker = new PasswordChecker(options, {
      metrics,
      findUser: (username) => this.users.get(username),
      onError: (error) => log.error({ err: asError(error) }, 'a password could not be checked'),
    })
    this.authenticators = usersFile === '' ? [] : [new ScramSha256(this.scramOptions())]
    if (usersFile !== '') {
      this.usersFile = new WatchedFile(
        { path: usersFile, interval },
        {
          apply: async (text) => this.applyUsers(await readUsers(text, usersFile)),
          refuse: (error) => this.refuse('users_refused', error),
        },
      )
    }
    if (aclFile !== '') {
      this.aclFile = new WatchedFile(
        { path: aclFile, interval },
        {
          apply: (text) => this.applyAcl(parseAcl(text, aclFile)),
          refuse: (error) => this.refuse('acl_refused', error),
        },
      )
    }
    metrics.bind({
      queueLength: () => this.checker.queueLength,
      users: () => this.users.size,
      rules: () => (aclFile === '' ? 0 : this.current.rules.length),
      staleFiles: () => [this.usersFile, this.aclFile].filter((file) => file?.isStale).length,
    })
  }

  /**
   * Reads both files, and keeps them read from now on.
   * @throws AccessFileError when one cannot be used.
   */
  async start(): Promise<void> {
    await this.usersFile?.start()
    await this.aclFile?.start()
  }

  /** Idempotent. */
  stop(): void {
    this.usersFile?.stop()
    this.aclFile?.stop()
    this.checker.stop()
  }

  authenticate(login: Login, done: (outcome: LoginOutcome) => void): void {
    const { username, password, isWaiting, allowsAnonymous = this.options.allowAnonymous } = login
    const { logins } = this.modules.metrics
    if (this.usersFile === undefined || (username === undefined && allowsAnonymous)) {
      logins.anonymous.value++
      return done(ANONYMOUS)
    }
    if (username === undefined) {
      logins.anonymous_refused.value++
      return done({ isAdmitted: false, reasonCode: ReasonCode.NotAuthorized, reason: 'a user name is needed' })
    }
    this.checker.check({
      username,
      password: password ?? NO_PASSWORD,
      isWaiting,
      done: (verdict) => done(outcomeOf(verdict)),
    })
  }

  rightsOf(client: ClientIdentity): ClientRights {
    return new AclRights(this, client, this.options.onDenied === 'disconnect', this.onDenial)
  }

  isRemoved(username: string): boolean {
    return this.removed.has(username)
  }

  /** Undefined for an unknown user, and for one whose line has no SCRAM verifier. */
  scramCredentials(username: string): ScramCredentials | undefined {
    return this.users.get(username)?.scram
  }

  /**
   * Users that do not exist seem to be like the first one of the file that has a verifier. Their salts come from that
   * one's secret: the same on every node that has the file, and after a restart.
   */
  private scramOptions(): ScramOptions {
    const example = (): ScramCredentials | undefined => this.scramExample
    const fallback = this.saltKey
    return {
      credentials: (username) => this.scramCredentials(username),
      get saltKey() {
        return example()?.serverKey ?? fallback
      },
      get iterations() {
        return example()?.iterations ?? DEFAULT_SCRAM_ITERATIONS
      },
    }
  }

  private applyUsers(users: Users): void {
    for (const username of this.users.keys()) if (!users.has(username)) this.removed.add(username)
    for (const username of this.removed) if (users.has(username)) this.removed.delete(username)
    this.users = users
    this.scramExample = [...users.values()].find(({ scram }) => scram !== undefined)?.scram
    const [first] = users.values()
    this.checker.imitate(first)
    this.modules.metrics.reloads.users_applied.value++
    this.modules.log.info({ file: this.options.usersFile, users: users.size }, 'users file applied')
    this.onChange()
  }

  private readonly onDenial: DenialListener = ({ clientId, username }, action, topic) => {
    this.modules.log.debug({ clientId, username, action, topic }, 'denied by the rules; further denials are not logged')
  }

  private applyAcl(file: AclFile): void {
    this.current = ruleSetOf(file, this.options)
    this.modules.metrics.reloads.acl_applied.value++
    this.modules.log.info({ file: this.options.aclFile, rules: file.rules.length }, 'ACL file applied')
    this.onChange()
  }

  private refuse(outcome: 'users_refused' | 'acl_refused', error: unknown): void {
    this.modules.metrics.reloads[outcome].value++
    const problems = error instanceof AccessFileError ? error.details.problems : [asError(error).message]
    const file = outcome === 'users_refused' ? this.options.usersFile : this.options.aclFile
    this.modules.log.error({ file, problems }, 'a changed file is refused, what was read before stays in force')
  }
}

/** The rules of a file; without one everything is allowed, save `$SYS` topics, which are read from this machine only. */
export function ruleSetOf(file: AclFile | undefined, { denyOverlapping }: { denyOverlapping: boolean }): RuleSet {
  const { rules, allowsOtherwise, otherwiseOrigin } = file ?? {
    rules: [SYSTEM_TOPICS_ON_LOOPBACK],
    allowsOtherwise: true,
    otherwiseOrigin: 'and without an ACL file the rest is allowed',
  }
  return new RuleSet(rules, { allowsOtherwise, otherwiseOrigin, isLenient: !denyOverlapping })
}

const SYSTEM_TOPICS_ON_LOOPBACK: AclRule = {
  isAllow: true,
  action: 'subscribe',
  subject: {
    usernames: undefined,
    clientIds: undefined,
    addresses: new IpAddressSet(['127.0.0.0/8', '::1']),
    isAnonymous: undefined,
  },
  topics: [TopicTemplate.parse('$SYS/#')],
  qosMask: EVERY_QOS,
  retain: undefined,
  origin: 'the built-in rule for clients on loopback',
}

function outcomeOf(verdict: PasswordVerdict): LoginOutcome {
  switch (verdict) {
    case 'verified':
    case 'remembered':
      return PROVEN
    case 'wrong_password':
    case 'unknown_user':
      // The same for both: who asks must not learn which users there are.
      return { isAdmitted: false, reasonCode: ReasonCode.BadUserNameOrPassword, reason: 'bad user name or password' }
    case 'busy':
    case 'abandoned':
      return { isAdmitted: false, reasonCode: ReasonCode.ServerBusy, reason: 'too many logins wait, try again' }
    case 'failed':
      return { isAdmitted: false, reasonCode: ReasonCode.ServerUnavailable, reason: 'the login cannot be checked now' }
  }
}
