/**
 * Wills of this node's clients that are due. As a rule they are published at once. While other nodes may have taken this
 * one for dead, and have not yet said which wills they have published for it, they wait for that: a node that was frozen
 * finds the connections of its clients gone before it hears from anybody. [docs/decisions/017]
 */

/** Who has not looked for so long has stood still, in milliseconds. */
const STANDSTILL_MS = 1_500
/** How long after a standstill: its links are made anew, and what was published is the first that comes over them. */
const AFTER_STANDSTILL_MS = 5_000
/** How long after a link is open that was made anew after a standstill. */
const AFTER_LINK_MS = 1_000
/** How long after a standstill a link counts as made anew for it. */
const LINKS_MS = 30_000

interface DueWill {
  readonly epoch: number
  readonly publish: () => void
}

export class DueWills {
  /** By client ID: the client's next one is due after it was here again, and that settles this one. */
  private readonly waiting = new Map<string, DueWill>()
  private lookedAt = Number.POSITIVE_INFINITY
  private stoodStillAt = Number.NEGATIVE_INFINITY
  private doubtfulUntil = Number.NEGATIVE_INFINITY

  /** @param isLeaving whether the node lets its clients go: then it has no time to wait */
  constructor(private readonly isLeaving: () => boolean) {}

  /** Whether the will of that connection waits here. */
  has(clientId: string, epoch: number): boolean {
    return this.waiting.get(clientId)?.epoch === epoch
  }

  /**
   * @param epoch of the client's connection, by which others call the will void
   * @param publish called once, at once or within seconds; not called if another node has published it
   */
  add(clientId: string, epoch: number, publish: () => void, now = performance.now()): void {
    const isDoubtful = now < this.doubtfulUntil || now - this.lookedAt > STANDSTILL_MS
    if (!isDoubtful || this.isLeaving()) return publish()
    this.clientCame(clientId)
    this.waiting.set(clientId, { epoch, publish })
  }

  /** Another node has published it. */
  voided(clientId: string, epoch: number): void {
    if (this.has(clientId, epoch)) this.waiting.delete(clientId)
  }

  /** The client is here again: its will comes before what it says now, even if it comes twice. */
  clientCame(clientId: string): void {
    const will = this.waiting.get(clientId)
    if (will === undefined) return
    this.waiting.delete(clientId)
    will.publish()
  }

  /** A node hears this one again: what it has published is told now. */
  linkOpened(now = performance.now()): void {
    if (now - this.stoodStillAt < LINKS_MS) this.doubtUntil(now + AFTER_LINK_MS)
  }

  /** Called several times a second. */
  checkTime(now: number): void {
    if (now - this.lookedAt > STANDSTILL_MS) {
      this.stoodStillAt = now
      this.doubtUntil(now + AFTER_STANDSTILL_MS)
    }
    this.lookedAt = now
    if (now < this.doubtfulUntil && !this.isLeaving()) return
    for (const clientId of this.waiting.keys()) this.clientCame(clientId)
  }

  /** Nobody will say any more what is void. */
  stop(): void {
    this.lookedAt = Number.POSITIVE_INFINITY
    this.doubtfulUntil = Number.NEGATIVE_INFINITY
    for (const clientId of this.waiting.keys()) this.clientCame(clientId)
  }

  private doubtUntil(time: number): void {
    this.doubtfulUntil = Math.max(this.doubtfulUntil, time)
  }
}
