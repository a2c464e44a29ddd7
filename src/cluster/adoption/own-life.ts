/**
 * Whether this node is sure that it lives, as far as the others can tell: it gives a sign of life in the store that all share
 * every second, and nobody takes its sessions before no sign has come for longer than it is sure of itself after one. So a
 * node that was frozen or cut off asks first, before it lets clients have sessions that may be another's by now. Only how fast
 * clocks run has to agree, and what is written is not guarded by this but by the store. [docs/decisions/027]
 */

import type { Logger } from 'pino'
import type { SharedStore } from '../../broker/estate-port.js'
import { asError } from '../../util/errors.js'
import { STANDS_STILL_MS } from './pulse-watch.js'

/** Between two signs of life, and while there is doubt, in milliseconds. */
const BEAT_INTERVAL_MS = 1_000
const DOUBT_INTERVAL_MS = 200
/** How long a node is sure of itself from the moment that it has sent a sign of life which has arrived, in milliseconds. */
const SURE_MS = STANDS_STILL_MS - 500
/** Who has not looked for so long has stood still, and may have been taken for dead, in milliseconds. */
const STANDSTILL_MS = 1_500

export interface OwnLifeModules {
  readonly store: Pick<SharedStore, 'beat' | 'isFailing'>
  /** Every other member is heard, so that none has taken this one for dead. */
  readonly hearsAll: () => boolean
  readonly log: Logger
}

interface Waiter {
  readonly until: number
  /** It waits while the store is away, too. */
  readonly isPatient: boolean
  readonly done: (isSure: boolean) => void
}

export class OwnLife {
  private confirmedAt = Number.NEGATIVE_INFINITY
  private beatAt = Number.NEGATIVE_INFINITY
  private isBeating = false
  private checkedAt = performance.now()
  private stoodStillAt = Number.NEGATIVE_INFINITY
  private waiters: Waiter[] = []
  private isStopped = false

  constructor(private readonly modules: OwnLifeModules) {}

  /**
   * The store has said so not long ago. While it is away nobody can take anything from there: then it is enough to hear all
   * others, unless this node has stood still since.
   */
  get isSure(): boolean {
    const now = performance.now()
    if (this.isStopped || now - this.confirmedAt < SURE_MS) return true
    if (!this.modules.store.isFailing || this.hasStoodStill(now)) return false
    return this.modules.hearsAll()
  }

  /**
   * This process has stood still, and does not know yet whether it was taken for dead meanwhile: nothing that has come by then
   * may be taken in. Asked for every chunk that a socket has. False while the store is away: then nobody could take anything.
   */
  get isInDoubt(): boolean {
    const now = performance.now()
    if (!this.hasStoodStill(now)) return false
    return !this.isStopped && !this.modules.store.isFailing && now - this.confirmedAt >= SURE_MS
  }

  /**
   * `done` is called once: with true when it is sure, with false when it is not by `until`; unless it is patient also as soon as
   * the store is away.
   */
  whenSure(until: number, done: (isSure: boolean) => void, isPatient = false): void {
    if (this.isSure) done(true)
    else if (this.modules.store.isFailing && !isPatient) done(false)
    else this.waiters.push({ until, isPatient, done })
  }

  /** To be called several times a second. */
  check(now: number): void {
    if (now - this.checkedAt > STANDSTILL_MS) this.stoodStillAt = now
    this.checkedAt = now
    const interval = now - this.confirmedAt < SURE_MS ? BEAT_INTERVAL_MS : DOUBT_INTERVAL_MS
    if (!this.isBeating && now - this.beatAt >= interval) void this.beat(now)
    this.answer(now)
  }

  /** Idempotent; nobody waits any more. */
  stop(): void {
    this.isStopped = true
    this.answer(Infinity)
  }

  private hasStoodStill(now: number): boolean {
    return now - this.checkedAt > STANDSTILL_MS || this.stoodStillAt > this.confirmedAt
  }

  private async beat(now: number): Promise<void> {
    this.isBeating = true
    this.beatAt = now
    try {
      // From when it was sent: the answer may have waited while this node stood still.
      if (await this.modules.store.beat()) this.confirmedAt = now
    } catch (error) {
      this.modules.log.debug({ err: asError(error) }, 'the store has not taken a sign of life')
    } finally {
      this.isBeating = false
    }
    this.answer(performance.now())
  }

  private answer(now: number): void {
    const { waiters, isSure } = this
    if (waiters.length === 0) return
    const { isFailing } = this.modules.store
    const waits = ({ until, isPatient }: Waiter): boolean => !isSure && until > now && (isPatient || !isFailing)
    const answered = waiters.filter((waiter) => !waits(waiter))
    if (answered.length === 0) return
    this.waiters = waiters.filter(waits)
    for (const { done } of answered) done(isSure)
  }
}
