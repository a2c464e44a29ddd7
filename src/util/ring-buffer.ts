/**
 * A first-in, first-out queue in one array: no allocation per item, no shifting of elements. Takes its first memory
 * with its first item, grows by powers of two up to its bound, and gives the memory back when it runs empty.
 */

/** Slots of the first array. */
const FIRST_CAPACITY = 8

/** An empty buffer keeps an array of at most this many slots for its next items. */
const KEPT_CAPACITY = 64

export class RingBuffer<T> {
  private slots: (T | undefined)[] | undefined = undefined
  private head = 0
  private count = 0
  private readonly maximumLength: number

  /** @param maximumLength items it holds at most; at least 1, `Infinity` where something else bounds the queue. */
  constructor(maximumLength: number) {
    if (!(maximumLength >= 1)) throw new RangeError(`a ring buffer holds at least 1 item, not ${maximumLength}`)
    this.maximumLength = maximumLength
  }

  get length(): number {
    return this.count
  }

  get isEmpty(): boolean {
    return this.count === 0
  }

  get isFull(): boolean {
    return this.count >= this.maximumLength
  }

  /** Appends an item; false (and nothing changed) at the bound, where the owner's policy has to decide. */
  push(item: T): boolean {
    if (this.count >= this.maximumLength) return false
    let slots = this.slots
    if (slots === undefined || this.count === slots.length) slots = this.grow()
    slots[(this.head + this.count) & (slots.length - 1)] = item
    this.count += 1
    return true
  }

  /** Takes the oldest item; undefined when empty. */
  shift(): T | undefined {
    const slots = this.slots
    if (slots === undefined || this.count === 0) return undefined
    const item = slots[this.head]
    slots[this.head] = undefined
    this.head = (this.head + 1) & (slots.length - 1)
    this.count -= 1
    if (this.count === 0 && slots.length > KEPT_CAPACITY) this.clear()
    return item
  }

  /** The oldest item, left in place; undefined when empty. */
  peek(): T | undefined {
    return this.at(0)
  }

  /** The item at `index`, 0 being the oldest; undefined outside of 0 to length - 1. */
  at(index: number): T | undefined {
    const slots = this.slots
    if (slots === undefined || index < 0 || index >= this.count) return undefined
    return slots[(this.head + index) & (slots.length - 1)]
  }

  /** Forgets all items and returns their memory. */
  clear(): void {
    this.slots = undefined
    this.head = 0
    this.count = 0
  }

  /** Oldest first. The buffer must not change meanwhile. */
  *[Symbol.iterator](): IterableIterator<T> {
    for (let index = 0; index < this.count; index += 1) yield this.at(index) as T
  }

  private grow(): (T | undefined)[] {
    const old = this.slots
    const slots = new Array<T | undefined>(old === undefined ? FIRST_CAPACITY : old.length * 2)
    for (let index = 0; index < this.count; index += 1) slots[index] = this.at(index)
    this.slots = slots
    this.head = 0
    return slots
  }
}
