/**
 * For how long a peer has been silent. A link is as silent as the worse of its directions: a peer that is heard, and says that
 * it does not hear this node, counts as one that is not heard.
 */

/** Durations in milliseconds. */
export interface SilenceOptions {
  heartbeatInterval: number
  suspectAfter: number
  downAfter: number
}

export class Silence {
  private heardAt = performance.now()
  /** It is heard, and says that it does not hear this node: what comes from it is no sign of a link then. */
  private deaf = false

  constructor(private readonly options: SilenceOptions) {}

  /** Whether the peer says that it does not hear this node. */
  get isDeaf(): boolean {
    return this.deaf
  }

  /** Another link is up: what the peer has said of its ears was of the one before. */
  begin(): void {
    this.deaf = false
  }

  /** Something has come; false when that says nothing. */
  hear(): boolean {
    if (this.deaf) return false
    this.heardAt = performance.now()
    return true
  }

  /**
   * What the peer says of the other direction.
   * @param unheard milliseconds for which it has not heard this node
   */
  weigh(isDeaf: boolean, unheard: number): void {
    this.deaf = isDeaf
    if (isDeaf) this.heardAt = Math.min(this.heardAt, performance.now() - unheard)
  }

  /** This node itself was paused: the silence of that time is not the peer's. */
  forgive(milliseconds: number): void {
    this.heardAt += milliseconds
  }

  /** @param at of `performance.now` */
  isSuspicious(at: number): boolean {
    return at - this.heardAt >= this.options.suspectAfter
  }

  /** @param isLinked without a link the next beat cannot come: no use in waiting for it */
  isTooLong(at: number, isLinked: boolean): boolean {
    const { heartbeatInterval, suspectAfter, downAfter } = this.options
    const limit = isLinked ? downAfter : Math.max(suspectAfter, downAfter - heartbeatInterval)
    return at - this.heardAt >= limit
  }
}
