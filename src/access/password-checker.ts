/**
 * Checks passwords, a few at a time: each takes tens of milliseconds of a core and megabytes, off the main thread. The
 * others wait in a line of limited length; who comes when it is full is refused, to try again.
 */

import { RingBuffer } from '../util/ring-buffer.js'
import type { AccessMetrics, LoginEnd } from './metrics.js'
import { dummyHash, type PasswordHash, verifyPassword } from './password-hash.js'
import { RecentLogins } from './recent-logins.js'
import type { User } from './users-file.js'

export interface PasswordCheckerOptions {
  /** Passwords checked at the same time. */
  readonly concurrentHashes: number
  /** Logins that wait. */
  readonly loginQueue: number
  /** Milliseconds for which a login that succeeded is remembered. */
  readonly rememberLogins: number
}

export interface PasswordCheckerModules {
  readonly metrics: AccessMetrics
  /** The user as the file has it at the time of asking. */
  readonly findUser: (username: string) => User | undefined
  /** Told of a check that failed by itself. */
  readonly onError: (error: unknown) => void
}

/** How a check can end. */
export type PasswordVerdict = Exclude<LoginEnd, 'anonymous' | 'anonymous_refused'>

export interface PasswordCheck {
  readonly username: string
  readonly password: Uint8Array
  isWaiting(): boolean
  /** Called once, perhaps before `check` returns. */
  done(verdict: PasswordVerdict): void
}

export class PasswordChecker {
  private readonly queue: RingBuffer<PasswordCheck>
  private readonly recent: RecentLogins
  private dummy: PasswordHash = dummyHash(undefined)
  private running = 0

  constructor(
    private readonly options: PasswordCheckerOptions,
    private readonly modules: PasswordCheckerModules,
  ) {
    this.queue = new RingBuffer(options.loginQueue)
    this.recent = new RecentLogins(options.rememberLogins)
  }

  get queueLength(): number {
    return this.queue.length
  }

  /** Users that do not exist are to be as dear to check as this one. */
  imitate(user: User | undefined): void {
    this.dummy = dummyHash(user?.password)
  }

  check(check: PasswordCheck): void {
    if (this.isRemembered(check)) this.end(check, 'remembered')
    else if (this.running < this.options.concurrentHashes) this.run(check)
    else if (!this.queue.push(check)) this.end(check, 'busy')
  }

  /** Ends the logins that wait, as if the node were busy. */
  stop(): void {
    for (let check = this.queue.shift(); check !== undefined; check = this.queue.shift()) this.end(check, 'busy')
  }

  private run(check: PasswordCheck): void {
    const { username, password } = check
    const user = this.modules.findUser(username)
    this.running++
    verifyPassword(password, user?.password ?? this.dummy)
      .then(
        (isRight): PasswordVerdict => {
          if (user === undefined) return 'unknown_user'
          if (!isRight) return 'wrong_password'
          this.recent.remember(user, password)
          return 'verified'
        },
        (error: unknown): PasswordVerdict => {
          this.modules.onError(error)
          return 'failed'
        },
      )
      .then((verdict) => {
        this.running--
        this.end(check, verdict)
        this.runNext()
      })
      .catch(this.modules.onError)
  }

  private runNext(): void {
    while (this.running < this.options.concurrentHashes) {
      const check = this.queue.shift()
      if (check === undefined) return
      // A client that has given up, or that shares its user with one that was checked meanwhile, costs no hash.
      if (!check.isWaiting()) this.end(check, 'abandoned')
      else if (this.isRemembered(check)) this.end(check, 'remembered')
      else this.run(check)
    }
  }

  private isRemembered({ username, password }: PasswordCheck): boolean {
    const user = this.modules.findUser(username)
    return user !== undefined && this.recent.isRemembered(user, password)
  }

  private end(check: PasswordCheck, verdict: PasswordVerdict): void {
    this.modules.metrics.logins[verdict].value++
    check.done(verdict)
  }
}
