/** Everyone here who has to keep a message of one batch holds the batch: one object for all its messages. */

import type { PendingPublish } from '../broker/ports.js'

export interface BatchHoldOwner {
  onKept(hold: BatchHold): void
  /** One that was deferred goes with the next commit. */
  onResumed(): void
}

export class BatchHold implements PendingPublish {
  private holds = 1
  /** Who has it and cannot keep it yet, not even with the next commit. */
  private deferrals = 0
  /** It is kept when that one is: the last piece of its entry, or the same batch as it came before. */
  private leader: BatchHold | undefined
  private followers: BatchHold[] | undefined

  /**
   * @param hint its number, 0 when it is none
   * @param isExact what it brings must not come again: see `Hold`
   */
  constructor(
    readonly sequence: number,
    readonly hint: number,
    readonly isExact: boolean,
    private readonly owner: BatchHoldOwner,
  ) {}

  get isKept(): boolean {
    return this.holds === 0
  }

  /** A commit that is made now has all of it. */
  get isTaken(): boolean {
    return this.deferrals === 0 && this.leader?.isTaken !== false
  }

  hold(): void {
    this.holds += 1
  }

  release(): void {
    this.holds -= 1
    if (this.holds > 0) return
    const { followers } = this
    this.followers = undefined
    this.owner.onKept(this)
    for (const follower of followers ?? []) follower.release()
  }

  defer(): void {
    this.deferrals += 1
  }

  resume(): void {
    this.deferrals -= 1
    this.owner.onResumed()
  }

  beginPiece(): void {
    this.hold()
    this.defer()
  }

  /** No more is to come, or it is of no use. */
  endPiece(): void {
    this.resume()
    this.release()
  }

  follow(leader: BatchHold): void {
    if (leader.isKept) return
    this.hold()
    this.leader = leader
    leader.followers ??= []
    leader.followers.push(this)
  }
}
