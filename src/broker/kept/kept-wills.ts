/**
 * Wills that a node finds on its disk when it is back. Where there are other nodes these have them, too, and publish them
 * (`cluster/wills`); a node that is alone does it itself, once it knows that it is.
 */

import { TimerEntry, type TimerWheel } from '../../util/timer-wheel.js'
import type { ArmedWill } from '../session-registry.js'

/** How often a node that is not ready yet looks whether it is. */
const NOT_READY_WAIT_MS = 250

export interface KeptWillsModules {
  readonly timers: TimerWheel
  /** All nodes that are to be expected are there. */
  readonly isReady: () => boolean
  readonly hasPeers: () => boolean
  readonly publish: (armed: ArmedWill) => void
}

export class KeptWills extends TimerEntry {
  /** One of each session at most. */
  private waiting: ArmedWill[] = []
  private isLoaded = false

  constructor(private readonly modules: KeptWillsModules) {
    super()
  }

  add(armed: ArmedWill): void {
    this.waiting.push(armed)
    if (this.isLoaded && this.waiting.length === 1) this.modules.timers.schedule(this, 0)
  }

  /** All that is kept is loaded: before, nobody may get a message, since those on the disk come first. */
  start(): void {
    this.isLoaded = true
    if (this.waiting.length > 0) this.modules.timers.schedule(this, 0)
  }

  override onTimeout(): void {
    const { timers, isReady, hasPeers, publish } = this.modules
    if (!isReady()) return timers.schedule(this, NOT_READY_WAIT_MS)
    const due = this.waiting
    this.waiting = []
    if (!hasPeers()) for (const armed of due) publish(armed)
  }
}
