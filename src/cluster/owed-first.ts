/**
 * Before a session goes to another node, peers within reach get what they are owed from the store of this one: among it may be what
 * the session's client has published here, and what it publishes at the other node must not overtake that. Not for long: late is
 * better than never.
 */

/** What a peer is owed from the store, by the numbers of hints. */
export interface OwedPeer {
  /** What is sent to it now goes out now. */
  readonly isReachable: boolean
  /** The first that it has not got; above `lastOwed` when there is none. */
  readonly firstOwed: number
  readonly lastOwed: number
}

interface Waiter {
  readonly deadline: number
  /** Up to which number each has to have it. */
  readonly awaited: Map<OwedPeer, number>
  readonly done: () => void
}

/** How often it is looked whether they have it, in milliseconds. */
const LOOK_MS = 5

export class OwedFirst {
  private waiters: Waiter[] = []
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly peers: Iterable<OwedPeer>) {}

  /**
   * Calls `done` once those within reach have acknowledged all that they are owed now: at once when that is nothing.
   * @param within milliseconds after which it is called in any case
   */
  whenPaid(within: number, done: () => void): void {
    const awaited = new Map<OwedPeer, number>()
    for (const peer of this.peers) if (isOwed(peer, peer.lastOwed)) awaited.set(peer, peer.lastOwed)
    if (awaited.size === 0) return done()
    this.waiters.push({ deadline: performance.now() + within, awaited, done })
    this.timer ??= setInterval(() => this.look(), LOOK_MS)
  }

  /** Nobody waits any more, and nobody is called. Idempotent. */
  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
    this.waiters = []
  }

  private look(): void {
    const now = performance.now()
    const isPaid = ({ deadline, awaited }: Waiter): boolean => {
      for (const [peer, last] of awaited) if (!isOwed(peer, last)) awaited.delete(peer)
      return awaited.size === 0 || now >= deadline
    }
    const paid: Waiter[] = []
    const left: Waiter[] = []
    for (const waiter of this.waiters) (isPaid(waiter) ? paid : left).push(waiter)
    this.waiters = left
    if (left.length === 0) this.stop()
    for (const { done } of paid) done()
  }
}

function isOwed({ isReachable, firstOwed }: OwedPeer, last: number): boolean {
  return isReachable && firstOwed <= last
}
