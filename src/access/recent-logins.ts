/**
 * Logins that succeeded a short time ago, so that a fleet that reconnects is not hashed once more, client by client.
 * What is kept is a digest under a key that exists in this process only; the password's hash in the users file has to
 * be the same still, so a change of the file voids what was remembered.
 */

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { User } from './users-file.js'

interface RecentLogin {
  readonly user: User
  readonly digest: Buffer
  /** By `performance.now()`. */
  readonly endsAt: number
}

/** Users that are remembered at most, about 400 bytes each; beyond it the one remembered longest makes room. */
const REMEMBERED_USERS = 50_000
const KEY_BYTES = 32

export class RecentLogins {
  private readonly key = randomBytes(KEY_BYTES)
  private readonly logins = new Map<string, RecentLogin>()

  /** @param duration milliseconds; 0 remembers nothing. */
  constructor(private readonly duration: number) {}

  remember(user: User, password: Uint8Array): void {
    if (this.duration === 0) return
    this.logins.delete(user.username)
    if (this.logins.size >= REMEMBERED_USERS) {
      for (const oldest of this.logins.keys()) {
        this.logins.delete(oldest)
        break
      }
    }
    const endsAt = performance.now() + this.duration
    this.logins.set(user.username, { user, digest: this.digestOf(user, password), endsAt })
  }

  isRemembered(user: User, password: Uint8Array): boolean {
    const recent = this.logins.get(user.username)
    if (recent === undefined) return false
    if (recent.endsAt <= performance.now() || !recent.user.password.hash.equals(user.password.hash)) {
      this.logins.delete(user.username)
      return false
    }
    return timingSafeEqual(recent.digest, this.digestOf(user, password))
  }

  private digestOf({ username }: User, password: Uint8Array): Buffer {
    return createHmac('sha256', this.key).update(username).update('\0').update(password).digest()
  }
}
