/** A QoS 2 message of a client whose session has come from another node, and that may not be kept by everyone yet. */

import type { Keeping } from '../mqtt/session/back-pressure.js'
import type { ReceivedQos2 } from '../mqtt/session/session.js'
import { TimerEntry, type TimerWheel } from '../util/timer-wheel.js'

/** How long the other node may take to say that a QoS 2 message is kept, in milliseconds. */
const SETTLING_MS = 30_000

export class MovedQos2 extends TimerEntry implements ReceivedQos2 {
  private followers: Keeping[] = []

  constructor(
    public isSettled: boolean,
    public isRefused: boolean,
    private readonly timers: TimerWheel,
  ) {
    super()
    if (!isSettled) timers.schedule(this, SETTLING_MS)
  }

  /** Nobody has said so: that node may be gone, and the client must not wait for ever. */
  override onTimeout(): void {
    this.settle(false)
  }

  addFollower(follower: Keeping): void {
    if (this.isSettled) return
    follower.hold()
    this.followers.push(follower)
  }

  /** @param isRefused that node could not keep it */
  settle(isRefused: boolean): void {
    this.isSettled = true
    this.isRefused ||= isRefused
    this.timers.cancel(this)
    for (const follower of this.followers.splice(0)) {
      if (this.isRefused) follower.refuse()
      follower.release()
    }
  }
}
