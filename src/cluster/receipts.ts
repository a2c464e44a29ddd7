/**
 * The other half of a peer's `Custody`: what is settled of the messages that the peer keeps, told once per turn and
 * again on the next link until the peer has confirmed it; and what the peer has recalled. Bounded by the custody. What is on
 * the disk here is told once: whoever has not heard it gives it to another member when this node ends, as QoS 1 allows. What
 * is there no more is told on each link: whoever has not heard it would not.
 */

import type { Receipts as ReceiptsPort } from '../broker/ports.js'
import { RingBuffer } from '../util/ring-buffer.js'
import type { LinkBody } from './wire.js'

/** Receipts in one message. */
const CHUNK_RECEIPTS = 4_096

const NONE: number[] = []

export class Receipts implements ReceiptsPort {
  private owed: number[] = []
  /** Told on this link and not confirmed, oldest first. */
  private readonly told = new RingBuffer<number>(Infinity)
  private confirmed = 0
  /** On the disk here, and not told yet. */
  private readonly onDisk = new Set<number>()
  /** Told to be on the disk here, gone from there to another member, and not settled. */
  private readonly offDisk = new Set<number>()
  /** Those of them that were not told on this link. */
  private unkept = new Set<number>()
  /** Messages still to come that another member has. */
  private readonly recalled = new Set<number>()
  private highest = 0

  /** @param onOwed called often: to be told until the turn ends */
  constructor(private readonly onOwed: () => void) {}

  /** Receipts that the peer has not confirmed. */
  get length(): number {
    return this.owed.length + this.told.length
  }

  /** A message has come. False when it was recalled: nobody here is to get it. */
  admit(receipt: number): boolean {
    this.highest = receipt
    return this.recalled.size === 0 || !this.recalled.delete(receipt)
  }

  settle(receipt: number): void {
    if (this.offDisk.delete(receipt)) this.unkept.delete(receipt)
    this.owed.push(receipt)
    this.onOwed()
  }

  keep(receipt: number): void {
    if (this.offDisk.delete(receipt)) this.unkept.delete(receipt)
    this.onDisk.add(receipt)
    this.onOwed()
  }

  unkeep(receipt: number): void {
    // Nobody has heard that it was there.
    if (this.onDisk.delete(receipt)) return
    this.offDisk.add(receipt)
    this.unkept.add(receipt)
    this.onOwed()
  }

  /** What came before is too late: its members have it. */
  recall(receipts: readonly number[]): void {
    for (const receipt of receipts) if (receipt > this.highest) this.recalled.add(receipt)
  }

  /** A link is up: what was not confirmed on the one before is told again. */
  open(): void {
    this.owed = [...this.told, ...this.owed]
    this.told.clear()
    this.unkept = new Set(this.offDisk)
    this.confirmed = 0
  }

  /** What to tell next; undefined when nothing is owed. */
  next(): LinkBody | undefined {
    if (this.owed.length === 0 && this.onDisk.size === 0 && this.unkept.size === 0) return undefined
    const receipts = this.owed.length <= CHUNK_RECEIPTS ? this.owed : this.owed.slice(0, CHUNK_RECEIPTS)
    this.owed = receipts === this.owed ? [] : this.owed.slice(CHUNK_RECEIPTS)
    for (const receipt of receipts) this.told.push(receipt)
    return { $case: 'groupReceipts', value: { receipts, kept: takeChunk(this.onDisk), unkept: takeChunk(this.unkept) } }
  }

  /** @param count how many the peer has taken on this link */
  confirm(count: number): void {
    for (; this.confirmed < count && !this.told.isEmpty; this.confirmed += 1) this.told.shift()
  }
}

function takeChunk(from: Set<number>): number[] {
  if (from.size === 0) return NONE
  const chunk: number[] = []
  for (const receipt of from) {
    if (chunk.length === CHUNK_RECEIPTS) break
    chunk.push(receipt)
    from.delete(receipt)
  }
  return chunk
}
