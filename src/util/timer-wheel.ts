/**
 * Timeouts for very many owners from one interval: a hashed wheel with rounds. Scheduling and cancelling are O(1) and
 * allocate nothing, since the entries are the list nodes; each tick visits one slot. The price is a coarse clock,
 * which keep-alive, session expiry and will delay do not mind: an entry is never early and at most two ticks late.
 *
 * An owner whose deadline moves often (keep-alive, with each packet) should not reschedule each time: it notes when
 * it was last busy, and on `onTimeout` schedules itself again for what is left.
 */

/** Default distance of ticks in milliseconds: far below the shortest keep-alive (1 s), cheap at four wake-ups a second. */
const TICK_MS = 250

/** Default number of slots: 512 ticks of 250 ms are 128 s a round, so a usual keep-alive fires in its first round. */
const SLOTS = 512

/** What can be scheduled: extend it, or hold a small object that does. An entry belongs to at most one wheel. */
export abstract class TimerEntry {
  /** Links and due tick belong to the wheel. An entry that is not scheduled links to itself. */
  wheelNext: TimerEntry = this
  wheelPrevious: TimerEntry = this
  wheelTick = 0

  get isScheduled(): boolean {
    return this.wheelNext !== this
  }

  /** Called once per `schedule`, after the delay; the entry is then free and may be scheduled again from here. */
  abstract onTimeout(): void
}

/** The fixed point of a circular list of entries. */
class Slot extends TimerEntry {
  override onTimeout(): void {}
}

export interface TimerWheelOptions {
  /** Milliseconds from tick to tick; more than 0. */
  tickMs?: number
  /** Slots of the wheel; a power of two. */
  slots?: number
  /** A clock in milliseconds that never goes back; `performance.now` unless a test drives the wheel. */
  now?: () => number
  /** Gets what an `onTimeout` threw; the other entries go on. Without it the error is an uncaught exception. */
  onError?: (error: unknown) => void
}

export class TimerWheel {
  private readonly tickMs: number
  private readonly mask: number
  private readonly slots: Slot[]
  private readonly expired = new Slot()
  private readonly now: () => number
  private readonly onError: (error: unknown) => void
  private readonly onInterval = (): void => this.tick()
  private interval: NodeJS.Timeout | undefined = undefined
  private currentTick = 0
  private count = 0
  private isStopped = false

  constructor(options: TimerWheelOptions = {}) {
    const { tickMs = TICK_MS, slots = SLOTS } = options
    if (!(tickMs > 0)) throw new RangeError(`a tick lasts more than 0 ms, not ${tickMs}`)
    if (slots < 1 || (slots & (slots - 1)) !== 0) throw new RangeError(`slots are a power of two, not ${slots}`)
    this.tickMs = tickMs
    this.mask = slots - 1
    this.slots = Array.from({ length: slots }, () => new Slot())
    this.now = options.now ?? (() => performance.now())
    this.onError = options.onError ?? throwUncaught
  }

  /** Entries that are scheduled. */
  get size(): number {
    return this.count
  }

  /** True while the interval runs: from the first entry until the first tick that finds none. */
  get isRunning(): boolean {
    return this.interval !== undefined
  }

  /**
   * Calls `entry.onTimeout` once, `delayMs` from now; an entry that is already scheduled moves to the new time.
   * @param delayMs milliseconds, 0 or more and finite
   * @throws RangeError for any other delay. After `stop` it does nothing.
   */
  schedule(entry: TimerEntry, delayMs: number): void {
    if (!(delayMs >= 0 && delayMs < Infinity)) throw new RangeError(`a delay is 0 ms or more, not ${delayMs}`)
    if (this.isStopped) return
    const now = this.now()
    if (this.interval === undefined) this.startInterval(now)
    if (entry.isScheduled) unlink(entry)
    else this.count += 1
    // Always a tick to come: an entry that reschedules itself must not be met again in the tick that fired it.
    entry.wheelTick = Math.max(Math.ceil((now + delayMs) / this.tickMs), this.currentTick + 1)
    append(this.slotOf(entry.wheelTick), entry)
  }

  /** Takes the entry out; nothing happens when it is not scheduled. */
  cancel(entry: TimerEntry): void {
    if (!entry.isScheduled) return
    unlink(entry)
    this.count -= 1
  }

  /** Fires what is due. The interval calls it; a test with a clock of its own may, too. */
  tick(): void {
    const tick = Math.floor(this.now() / this.tickMs)
    // A process that was held up for more than a round has to look at each slot, but only once.
    const behind = Math.min(tick - this.currentTick, this.slots.length)
    const first = this.currentTick + 1
    if (behind > 0) this.currentTick = tick
    for (let step = 0; step < behind; step += 1) this.collectExpired(this.slotOf(first + step))
    this.fireExpired()
    if (this.count === 0) this.stopInterval()
  }

  /** Forgets all entries and ends the interval, for good. */
  stop(): void {
    this.isStopped = true
    this.stopInterval()
    for (const slot of [...this.slots, this.expired]) {
      while (slot.wheelNext !== slot) this.cancel(slot.wheelNext)
    }
  }

  private slotOf(tick: number): Slot {
    return this.slots[tick & this.mask] as Slot
  }

  /** Due entries wait in a list of their own, so that an `onTimeout` may cancel or schedule any entry. */
  private collectExpired(slot: Slot): void {
    let entry = slot.wheelNext
    while (entry !== slot) {
      const next = entry.wheelNext
      if (entry.wheelTick <= this.currentTick) {
        unlink(entry)
        append(this.expired, entry)
      }
      entry = next
    }
  }

  private fireExpired(): void {
    while (this.expired.isScheduled) {
      const entry = this.expired.wheelNext
      this.cancel(entry)
      try {
        entry.onTimeout()
      } catch (error) {
        this.onError(error)
      }
    }
  }

  private startInterval(now: number): void {
    this.currentTick = Math.floor(now / this.tickMs)
    this.interval = setInterval(this.onInterval, this.tickMs)
    this.interval.unref()
  }

  private stopInterval(): void {
    clearInterval(this.interval)
    this.interval = undefined
  }
}

function append(slot: Slot, entry: TimerEntry): void {
  const last = slot.wheelPrevious
  entry.wheelPrevious = last
  entry.wheelNext = slot
  last.wheelNext = entry
  slot.wheelPrevious = entry
}

function unlink(entry: TimerEntry): void {
  entry.wheelPrevious.wheelNext = entry.wheelNext
  entry.wheelNext.wheelPrevious = entry.wheelPrevious
  entry.wheelNext = entry
  entry.wheelPrevious = entry
}

/** What an error in a `setTimeout` callback becomes, without keeping the other entries from their turn. */
function throwUncaught(error: unknown): void {
  process.nextTick(() => {
    throw error
  })
}
