/** A queue that fills holds its publishers back: see docs/decisions/004. */

import { TimerEntry, type TimerWheel } from '../../util/timer-wheel.js'

/** Held while somebody still has to keep a message; see `PendingPublish` of the broker's ports. */
export interface Hold {
  hold(): void
  release(): void
  /** Who has the message cannot keep it with the next commit: what is told of it there must not say that it is kept. */
  defer?(): void
  /** From the next commit on it can. */
  resume?(): void
  /** What is kept of it is to be kept with the next commit, and not some time: it must not come again. */
  readonly isExact?: boolean
}

/** A hold of a publisher who can be told that its message is not kept. */
export interface Keeping extends Hold {
  /** It cannot be kept, so its publisher must not hear that it is. Whoever says so releases its hold all the same. */
  refuse(): void
}

/** Publishers held back by one session's queue, and for how long it has been so. */
export class BackPressure extends TimerEntry {
  private held: Hold[] = []
  /** The hold time has passed and the queue has not eased since: from now on a full queue drops. */
  isExhausted = false

  constructor(
    private readonly holdTime: number,
    private readonly timers: TimerWheel,
  ) {
    super()
  }

  /** Takes a hold, unless the time for holding is over. */
  take(pending: Hold): boolean {
    if (this.isExhausted) return false
    if (this.held.length === 0) this.timers.schedule(this, this.holdTime)
    pending.hold()
    this.held.push(pending)
    return true
  }

  /** The queue has eased (or is gone): everybody goes on. */
  releaseAll(): void {
    this.isExhausted = false
    if (this.held.length === 0) return
    this.timers.cancel(this)
    this.letGo()
  }

  override onTimeout(): void {
    this.isExhausted = true
    this.letGo()
  }

  private letGo(): void {
    const held = this.held
    this.held = []
    for (const pending of held) pending.release()
  }
}
