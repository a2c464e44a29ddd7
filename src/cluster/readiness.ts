/** When the node may say that it is ready: once the mesh is whole, or when it has waited long enough for that. */

import { Deferred } from '../util/deferred.js'

/** How often the mesh is looked at until it is whole. */
const POLL_MS = 50

export interface ReadinessModules {
  /** Milliseconds after which it goes on without those who are missing. */
  readonly joinTimeout: number
  readonly isMeshWhole: () => boolean
  /** Somebody is missing, and is waited for no longer. */
  readonly onTimeout: () => void
  /** Once, unless it is stopped before. */
  readonly onReady: (because: string) => void
}

export class Readiness {
  private readonly ready = new Deferred()
  private isSettled = false
  private isStopped = false
  private timeout: NodeJS.Timeout | undefined
  private poll: NodeJS.Timeout | undefined

  constructor(private readonly modules: ReadinessModules) {}

  /** True once the mesh was whole, or the join timeout has passed; false again when the node stops. */
  get isReady(): boolean {
    return this.isSettled && !this.isStopped
  }

  /** Resolves when `isReady` becomes true, or with `stop`. */
  whenReady(): Promise<void> {
    return this.ready.promise
  }

  start(): void {
    this.timeout = setTimeout(() => {
      this.modules.onTimeout()
      this.settle('the join timeout has passed')
    }, this.modules.joinTimeout)
    this.poll = setInterval(() => this.look(), POLL_MS)
    this.look()
  }

  /** Idempotent. */
  stop(): void {
    this.isStopped = true
    this.clearTimers()
    this.ready.resolve()
  }

  private look(): void {
    if (this.modules.isMeshWhole()) this.settle('the mesh is whole')
  }

  private settle(because: string): void {
    if (this.isSettled) return
    this.isSettled = true
    this.clearTimers()
    this.modules.onReady(because)
    this.ready.resolve()
  }

  private clearTimers(): void {
    clearTimeout(this.timeout)
    clearInterval(this.poll)
  }
}
