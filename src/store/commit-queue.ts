/**
 * When a store commits, whatever it keeps its data in. What a turn brings is one commit; while one is on its way the
 * next turns gather for the one after it, so the slower the place, the larger the commits. What may wait begins none: it
 * goes with others, or when its time has come.
 *
 * After a commit that has failed what had changed stays due, and it is tried again. Who waits for it goes on waiting as
 * long as the store has patience, then is refused; from then on the store is `failing` until a commit succeeds.
 */

import type { Hold, Keeping } from '../broker/store-port.js'
import type { Logger } from '../telemetry/logger.js'
import { asError, NodeError } from '../util/errors.js'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import type { DueKeys, OnChange, When } from './due-table.js'
import type { CommitFailure, StoreMetrics } from './metrics.js'

/**
 * What may wait goes with a commit this many milliseconds later at the latest; where somebody waits for it, twice that. A
 * client that is near has acknowledged what it was sent by then, also when 50 publishers send as fast as they can.
 */
export const GRACE_MS = 50

/**
 * How long peers whose messages were for sessions that are another node's now go without an answer, in milliseconds: until
 * then they have handed them on to that node.
 */
const DISOWNED_MS = 15_000

/** The keys of one table or shelf that go with a commit. */
export type TakenKeys<Table extends Part> = readonly [table: Table, keys: ReturnType<Table['takeDue']>]

type Part = DueKeys<string | number>

/** What a store keeps its data in, as the queue sees it. */
export interface CommitPlace<Table extends Part> {
  /** What log lines say of it, such as its directory. */
  readonly logFields: Readonly<Record<string, string>>
  /**
   * Keeps the present entries of these keys, all of them or none.
   * @param within milliseconds; a place that may not answer at all fails after that time
   * @returns bytes of keys and values, when they are kept
   */
  write(taken: readonly TakenKeys<Table>[], within: number): Promise<number>
  /** Why `write` has failed. After `fenced` it is not tried again; after `adopted` it is, for what comes from then on. */
  reasonOf(error: Error): CommitFailure
}

export interface CommitQueueOptions {
  /** Milliseconds from the first sign of trouble until who waits is refused; 0: at once. */
  readonly patience: number
  /** How long to wait before the next try. @param failures in a row, 1 or more @returns milliseconds */
  readonly retryDelay: (failures: number) => number
}

export interface CommitQueueModules {
  readonly turn: TurnQueue
  readonly metrics: StoreMetrics
  readonly log: Logger
}

export class CommitQueue<Table extends Part> implements TurnTask {
  isQueued = false
  isFailing = false
  /** What has failed most recently; undefined when all is well. */
  failure: Error | undefined
  private readonly tableList = new Map<string, Table>()
  /** Who waits for the next commit. */
  private waiting: Hold[] = []
  /** Who cannot be refused, and waits for the next commit that succeeds. Bounded by what links have under way. */
  private patient: Hold[] = []
  /** The commit that is on its way. */
  private committing: Promise<void> | undefined
  private retryTimer: NodeJS.Timeout | undefined
  private graceTimer: NodeJS.Timeout | undefined
  /** Who has waited for what need not be kept any more. */
  private settled: Hold[] = []
  private failures = 0
  /** By `performance.now()`: since when nothing could be kept. */
  private troubleSince: number | undefined
  private isStopped = false
  /** A commit is wanted even if nothing is due. */
  private isDemanded = false
  /** Something is due that does not wait for others. */
  private isWanted = false
  /** Somebody else writes in this place now: nothing of ours ever will be kept there. */
  private isFenced = false
  private readonly onChange: OnChange = (pending, when) => this.onDue(pending, when)

  constructor(
    private readonly place: CommitPlace<Table>,
    private readonly options: CommitQueueOptions,
    private readonly modules: CommitQueueModules,
  ) {}

  /** Makes a table with `create`. @throws NodeError TABLE_EXISTS */
  add<One extends Table>(name: string, create: (onChange: OnChange) => One): One {
    if (this.tableList.has(name))
      throw new NodeError(`there is a table ${name} already`, { code: 'TABLE_EXISTS', name })
    const table = create(this.onChange)
    this.tableList.set(name, table)
    return table
  }

  tables(): IterableIterator<Table> {
    return this.tableList.values()
  }

  /** For the gauges of the store. */
  get gauges(): { pendingEntries(): number; pendingPublishes(): number; isFailing(): boolean } {
    return {
      pendingEntries: () => this.sum((table) => table.length + table.postponedLength),
      pendingPublishes: () => this.waiting.length + this.patient.length + this.sum((table) => table.postponedLength),
      isFailing: () => this.isFailing,
    }
  }

  runTurn(): void {
    if (this.settled.length > 0) for (const pending of this.settled.splice(0)) pending.release()
    // What comes while a commit is on its way is the next one's.
    if (this.committing === undefined && (this.isDemanded || (this.isWanted && this.mayTry))) this.begin()
  }

  /** Trouble that shows before anything is due: the patience of the store begins now. */
  lost(error: Error): void {
    if (this.isStopped || this.committing !== undefined || this.troubleSince !== undefined) return
    this.failed(error, performance.now())
  }

  /** The place is there again: a commit shows now whether it can keep what is due. */
  found(): void {
    if (this.troubleSince !== undefined) this.demand()
  }

  /** A commit in the next turn, also when nothing is due. */
  demand(): void {
    this.isDemanded = true
    this.modules.turn.add(this)
  }

  /** The place may not be able to write: unless that is known, or about to be, a commit finds out. */
  suspect(): void {
    if (this.troubleSince === undefined && this.committing === undefined) this.demand()
  }

  /** Commits what is due; what cannot be kept is refused. Idempotent. */
  async stop(): Promise<void> {
    if (this.isStopped) return
    await this.committing
    for (const table of this.tableList.values()) {
      table.ripen()
      table.ripen()
    }
    if (this.isDue) {
      this.begin()
      await this.committing
    }
    this.isStopped = true
    clearTimeout(this.retryTimer)
    clearTimeout(this.graceTimer)
    this.refuse(this.takeWaiting())
    for (const pending of this.settled.splice(0)) pending.release()
  }

  private get isDue(): boolean {
    for (const table of this.tableList.values()) if (table.length > 0) return true
    // What the patient wait for may be withdrawn, and they wait all the same.
    return this.waiting.length > 0 || this.isDemanded || (!this.isFailing && this.patient.length > 0)
  }

  private onDue(pending: Hold | undefined, when: When): void {
    if (when === 'now') return this.wake(pending)
    if (when === 'later') {
      if (this.graceTimer === undefined && !this.isStopped) this.startGrace()
    } else if (pending !== undefined) {
      // Not within what has settled it: an acknowledgement may let its publisher send the next message.
      this.settled.push(pending)
      this.modules.turn.add(this)
    }
  }

  private wake(pending: Hold | undefined): void {
    if (pending !== undefined) {
      pending.hold()
      this.waiting.push(pending)
    }
    this.isWanted = true
    if (this.troubleSince === undefined || (this.isFailing && pending !== undefined)) this.modules.turn.add(this)
  }

  /** In trouble it is time that tries again; a store that fails is tried for those who wait, and for nobody else. */
  private get mayTry(): boolean {
    return this.troubleSince === undefined || (this.isFailing && this.waiting.length > 0)
  }

  private startGrace(): void {
    this.graceTimer = setTimeout(() => this.endGrace(), GRACE_MS).unref()
  }

  private endGrace(): void {
    this.graceTimer = undefined
    for (const table of this.tableList.values()) table.ripen()
    if (this.troubleSince === undefined) this.wake(undefined)
    if (this.sum((table) => table.postponedLength) > 0) this.startGrace()
  }

  private sum(of: (table: Table) => number): number {
    let sum = 0
    for (const table of this.tableList.values()) sum += of(table)
    return sum
  }

  private begin(): void {
    if (this.isStopped) return
    if (!this.isDue) {
      this.isWanted = false
      return
    }
    if (this.isFenced) this.refuse(this.takeWaiting())
    else this.committing = this.commit()
  }

  private async commit(): Promise<void> {
    const { metrics } = this.modules
    const waiting = this.takeWaiting()
    // Who becomes one of these while the commit is on its way waits for what is due then.
    const patient = this.patient.splice(0)
    const taken = Array.from(
      this.tableList.values(),
      (table) => [table, table.takeDue()] as unknown as TakenKeys<Table>,
    )
    const startedAt = performance.now()
    this.isDemanded = false
    this.isWanted = false
    try {
      metrics.bytes.value += await this.place.write(taken, this.patienceLeft(startedAt))
      for (const [, keys] of taken) metrics.entries.value += keys.size
      metrics.commits.value += 1
      metrics.seconds.observe((performance.now() - startedAt) / 1000)
      this.recovered()
      this.tellKept(taken, [...patient, ...waiting])
    } catch (error) {
      for (const [table, keys] of taken) table.putBack(keys)
      this.waiting = waiting.concat(this.waiting)
      this.patient = patient.concat(this.patient)
      this.failed(asError(error), startedAt, waiting.length)
    } finally {
      this.committing = undefined
      // Not within the callback of the place: what has gathered goes with the rest of this turn.
      if (this.isWanted && this.mayTry) this.modules.turn.add(this)
    }
  }

  /** What an owner or a publisher does with the news must not look like a commit that has failed. */
  private tellKept(taken: readonly TakenKeys<Table>[], waiting: readonly Hold[]): void {
    try {
      for (const [table, keys] of taken) table.tellKept(keys)
      for (const pending of waiting) pending.release()
    } catch (error) {
      this.modules.log.error({ err: asError(error) }, 'what follows a commit of the store has failed')
    }
  }

  /** Those who wait now are refused only when there is no patience left. */
  private failed(error: Error, startedAt: number, tried = 0): void {
    const reason = this.place.reasonOf(error)
    this.modules.metrics.failures[reason].value += 1
    this.failure = error
    this.failures += 1
    this.troubleSince ??= startedAt
    this.isFenced ||= reason === 'fenced'
    if (reason === 'adopted') this.disown()
    if (this.isFailing) this.refuse(this.waiting.splice(0, tried))
    else if (this.isFenced || this.patienceLeft(performance.now()) <= 0) this.giveUp(error, tried)
    if (!this.isFenced) this.retryIn(this.options.retryDelay(this.failures))
  }

  private retryIn(delay: number): void {
    const left = this.isFailing ? delay : this.patienceLeft(performance.now())
    clearTimeout(this.retryTimer)
    this.retryTimer = setTimeout(() => this.retry(), Math.min(delay, left)).unref()
  }

  private retry(): void {
    const { failure, isFailing, waiting } = this
    if (failure === undefined) return
    if (!isFailing && this.patienceLeft(performance.now()) <= 0) this.giveUp(failure, waiting.length)
    if (this.isDue || this.isFailing) this.demand()
    else this.retryIn(this.options.patience)
  }

  /** @param tried how many of those who wait had waited for what has failed */
  private giveUp(error: Error, tried: number): void {
    this.isFailing = true
    const { log } = this.modules
    log.error({ err: error, reason: this.place.reasonOf(error), ...this.place.logFields }, 'the store cannot write')
    // Where there is patience, whoever has come meanwhile has shared it.
    this.refuse(this.waiting.splice(0, this.options.patience === 0 ? tried : this.waiting.length))
  }

  private recovered(): void {
    this.troubleSince = undefined
    this.failure = undefined
    this.failures = 0
    clearTimeout(this.retryTimer)
    if (!this.isFailing) return
    this.isFailing = false
    this.modules.log.info(this.place.logFields, 'the store can write again')
  }

  /** Milliseconds; all of it for a store that fails, whose waiters are those of the next try. */
  private patienceLeft(now: number): number {
    const { patience } = this.options
    return this.troubleSince === undefined || this.isFailing ? patience : this.troubleSince + patience - now
  }

  /** What was to be kept is another node's: nobody who waits may take it for kept. */
  private disown(): void {
    const patient = [...this.patient.splice(0), ...this.waiting.filter((pending) => !isKeeping(pending))]
    this.refuse(this.takeWaiting().filter(isKeeping))
    if (patient.length === 0) return
    const timer = setTimeout(() => {
      for (const pending of patient) pending.release()
    }, DISOWNED_MS)
    timer.unref()
  }

  private takeWaiting(): Hold[] {
    const { waiting } = this
    this.waiting = []
    return waiting
  }

  private refuse(waiting: readonly Hold[]): void {
    for (const pending of waiting) {
      if (!isKeeping(pending)) {
        this.patient.push(pending)
        continue
      }
      this.modules.metrics.refused.value += 1
      pending.refuse()
      pending.release()
    }
  }
}

function isKeeping(pending: Hold): pending is Keeping {
  return 'refuse' in pending
}
