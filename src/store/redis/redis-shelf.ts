/**
 * One shelf of the store in Redis: a hash, whose fields are the numbers in decimal. What is in Redis is in the memory of
 * the node as well, since an owner reads it back in the middle of a turn, and Redis may be away: so the shelf is as large
 * as its owner's own bounds let it be (the limits of the queues of sessions), and Redis is only ever read at the start.
 */

import type { ShelfContents, StoreShelf } from '../../broker/store-port.js'
import { DueNumbers, type OnChange } from '../due-table.js'
import type { RedisPart } from './redis-part.js'

export class RedisShelf extends DueNumbers implements StoreShelf, RedisPart {
  readonly tellsOfShelves = false
  /** What the last commits have left in Redis. */
  private readonly copies = new Map<number, Buffer>()
  /** Of `copies`. */
  copiedBytes = 0
  /** Numbers that Redis is to have as `copies` says, although their owner has not changed them. */
  private again = new Set<number>()
  /** Of the commit that is on its way: what the owner has changed, and what is written there. */
  private taken = new Set<number>()
  private readonly written = new Map<number, Uint8Array | undefined>()

  constructor(
    readonly redisKey: string,
    private readonly contents: ShelfContents,
    onChange: OnChange,
  ) {
    super(onChange)
  }

  override get length(): number {
    return this.due.size + this.again.size
  }

  get(number: number): Buffer | undefined {
    return this.copies.get(number)
  }

  read(key: string | number): Uint8Array | undefined {
    const number = Number(key)
    if (!this.taken.has(number)) return this.copies.get(number)
    const value = this.contents.read(number)
    this.written.set(number, value)
    return value
  }

  override takeDue(): Set<number> {
    this.taken = super.takeDue()
    this.written.clear()
    if (this.again.size === 0) return this.taken
    const all = new Set([...this.taken, ...this.again])
    this.again = new Set()
    return all
  }

  override putBack(numbers: Set<number>): void {
    for (const number of numbers) if (!this.taken.has(number)) this.again.add(number)
    super.putBack(this.taken)
    this.taken = new Set()
    this.written.clear()
  }

  tellKept(): void {
    const { taken, written, contents } = this
    this.taken = new Set()
    for (const [number, value] of written) this.copy(number, value)
    written.clear()
    for (const number of taken) contents.kept(number)
  }

  /** In bytes of its own: those that come from Redis are parts of what came with them. */
  restore(field: string, value: Buffer): void {
    this.copy(Number(field), Buffer.from(value))
  }

  *restored(): Generator<void> {
    for (const number of [...this.copies.keys()].sort((a, b) => a - b)) {
      this.contents.restore(number, this.copies.get(number) as Buffer)
      yield
    }
  }

  *fields(): Generator<string> {
    for (const number of this.copies.keys()) yield String(number)
  }

  has(field: string): boolean {
    return this.copies.has(Number(field))
  }

  writeAgain(field: string): void {
    this.again.add(Number(field))
    this.onChange(undefined, 'now')
  }

  private copy(number: number, value: Uint8Array | undefined): void {
    this.copiedBytes += (value?.length ?? 0) - (this.copies.get(number)?.length ?? 0)
    if (value === undefined) this.copies.delete(number)
    else if (Buffer.isBuffer(value)) this.copies.set(number, value)
    else this.copies.set(number, Buffer.from(value.buffer, value.byteOffset, value.byteLength))
  }
}
