/** What one peer is told of one replicated map: keys as they change, and where digests differ, what it lacks. */

import { BUCKETS, type ReplicatedMap } from './replicated-map.js'
import type { LinkBody, MapEntry } from './wire.js'

/** What a peer has been sent and still differs in is sent to it again after this many checks: it may take it by then. */
export const REPEAT_AFTER_CHECKS = 60

/** Keys and bytes in one message, about. */
const CHUNK_ENTRIES = 1_000
const CHUNK_BYTES = 32 * 1024

/** What one peer is still to be told of one map. Bounded by the number of keys, each of which stands in it once. */
export class MapFeed {
  private readonly due = new Set<string>()
  /** Per bucket, the digests of the last check that differed and was answered: the peer's and our own. */
  private readonly answeredTheirs = new Uint32Array(BUCKETS)
  private readonly answeredOwn = new Uint32Array(BUCKETS)
  private checks = 0
  private checksSinceOpen = 0
  private owesCheck = false
  /**
   * How many of the keys that are due answer the peer's first check: a check of our own behind them tells it that this
   * was all. Undefined when it is not being answered.
   */
  private unanswered: number | undefined
  private isOpen = false
  private whole = false

  constructor(private readonly map: ReplicatedMap) {}

  /** True once this node had everything that the peer had when the link opened. */
  get isWhole(): boolean {
    return this.whole
  }

  /** Keys that wait. */
  get length(): number {
    return this.due.size
  }

  open(): void {
    this.isOpen = true
    this.owesCheck = true
    this.checksSinceOpen = 0
    this.unanswered = undefined
    this.whole = false
    this.forgetAnswers()
  }

  close(): void {
    this.isOpen = false
    this.due.clear()
  }

  /** A key has changed. Without a link the digests will find it. */
  add(key: string): void {
    if (this.isOpen) this.due.add(key)
  }

  /** The digests are to be sent again. */
  check(): void {
    this.owesCheck = true
  }

  /**
   * The peer's digests: it gets what differs. Where neither its digest nor ours has moved since it got that, it has
   * refused something, and is not sent it again at every check.
   */
  takeCheck(buckets: readonly number[]): void {
    this.checksSinceOpen += 1
    if (this.checksSinceOpen === 2) {
      // The peer's last word: what our first check found missing has come before it. It was said before our answer had
      // arrived there, so it is none to answer.
      this.whole = true
      return
    }
    this.checks += 1
    if (this.checks % REPEAT_AFTER_CHECKS === 0) this.forgetAnswers()
    const own = this.map.buckets()
    this.whole ||= own.every((digest, bucket) => digest === buckets[bucket])
    const open = own.map((digest, bucket) => {
      const theirs = buckets[bucket] ?? 0
      return this.wasAnswered(bucket, digest, theirs) ? digest : theirs
    })
    for (const key of this.map.keysThatDiffer(open)) this.due.add(key)
    if (this.checksSinceOpen === 1) this.unanswered = this.due.size
  }

  next(): LinkBody | undefined {
    if (!this.isOpen) return undefined
    const { name } = this.map
    const owesLastWord = this.unanswered !== undefined && this.unanswered <= 0
    if (this.owesCheck || owesLastWord) {
      if (!this.owesCheck) this.unanswered = undefined
      this.owesCheck = false
      return { $case: 'mapCheck', value: { map: name, buckets: this.map.buckets() } }
    }
    if (this.due.size === 0) return undefined
    const entries: MapEntry[] = []
    let bytes = 0
    for (const key of this.due) {
      this.due.delete(key)
      if (this.unanswered !== undefined) this.unanswered -= 1
      const entry = this.map.entry(key)
      if (entry === undefined) continue
      entries.push(entry)
      bytes += key.length + (entry.value?.length ?? 0)
      if (entries.length === CHUNK_ENTRIES || bytes >= CHUNK_BYTES) break
    }
    return { $case: 'mapEntries', value: { map: name, entries } }
  }

  private wasAnswered(bucket: number, own: number, theirs: number): boolean {
    if (this.answeredOwn[bucket] === own && this.answeredTheirs[bucket] === theirs) return true
    this.answeredOwn[bucket] = own
    this.answeredTheirs[bucket] = theirs
    return false
  }

  /** Two zeros are equal digests, and so no answer. */
  private forgetAnswers(): void {
    this.answeredOwn.fill(0)
    this.answeredTheirs.fill(0)
  }
}
