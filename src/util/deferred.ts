/** A promise that is settled from outside: for an answer that arrives elsewhere than where it is awaited. */
export class Deferred<T = void> {
  readonly promise: Promise<T>
  private settled = false
  private resolvePromise!: (value: T | PromiseLike<T>) => void
  private rejectPromise!: (error: unknown) => void

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolvePromise = resolve
      this.rejectPromise = reject
    })
  }

  /** True once `resolve` or `reject` was called; later calls change nothing. */
  get isSettled(): boolean {
    return this.settled
  }

  resolve(value: T | PromiseLike<T>): void {
    this.settled = true
    this.resolvePromise(value)
  }

  /** Somebody has to await `promise` by then, or Node.js reports an unhandled rejection, as with any promise. */
  reject(error: unknown): void {
    this.settled = true
    this.rejectPromise(error)
  }
}
