/**
 * Work done once per event-loop turn: whoever has something to flush adds itself as often as it likes while I/O
 * callbacks run, and is run once in the check phase that follows them, before the loop polls again. One immediate
 * serves all tasks, and nothing is allocated per task or per turn beyond it.
 */

/** Something to run at the end of the turn. The object is its own place in the queue. */
export interface TurnTask {
  /** Belongs to the queue: true from `add` until just before `runTurn`. Starts false. */
  isQueued: boolean
  runTurn(): void
}

export interface TurnQueueOptions {
  /** Gets what a task threw; the other tasks go on. Must not throw. */
  onError: (error: unknown, task: TurnTask) => void
}

export class TurnQueue {
  private readonly onError: (error: unknown, task: TurnTask) => void
  private readonly onImmediate = (): void => this.run()
  private immediate: NodeJS.Immediate | undefined = undefined
  // Two lists that change places, filled up to their counts: the slots are kept, so a turn costs no memory. Each task
  // is in at most one of them, so their lengths are bounded by the number of tasks that live.
  private waiting: (TurnTask | undefined)[] = []
  private waitingCount = 0
  private spare: (TurnTask | undefined)[] = []
  private isStopped = false

  constructor(options: TurnQueueOptions) {
    this.onError = options.onError
  }

  /** Tasks that wait for the end of the turn. */
  get length(): number {
    return this.waitingCount
  }

  /**
   * Runs the task at the end of this turn, in the order of adding; nothing happens when it waits already. Added by a
   * task while it runs, it is the next turn. After `stop` it does nothing.
   */
  add(task: TurnTask): void {
    if (task.isQueued || this.isStopped) return
    task.isQueued = true
    this.waiting[this.waitingCount] = task
    this.waitingCount += 1
    if (this.immediate === undefined) this.immediate = setImmediate(this.onImmediate)
  }

  /** Forgets the tasks that wait, and takes no more. */
  stop(): void {
    this.isStopped = true
    clearImmediate(this.immediate)
    this.immediate = undefined
    for (let index = 0; index < this.waitingCount; index += 1) {
      const task = this.waiting[index]
      if (task !== undefined) task.isQueued = false
    }
    this.waiting = []
    this.waitingCount = 0
  }

  private run(): void {
    const tasks = this.waiting
    const count = this.waitingCount
    this.immediate = undefined
    this.waiting = this.spare
    this.waitingCount = 0
    this.spare = tasks
    for (let index = 0; index < count; index += 1) {
      const task = tasks[index]
      tasks[index] = undefined
      if (task !== undefined) this.runTask(task)
    }
  }

  private runTask(task: TurnTask): void {
    task.isQueued = false
    if (this.isStopped) return
    try {
      task.runTurn()
    } catch (error) {
      this.onError(error, task)
    }
  }
}
