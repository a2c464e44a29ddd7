/**
 * Items by rising numbers, of which those that live are mostly among the latest: an array that moves along with them, which
 * is looked up and left behind without hashing, and a map for the few that stay.
 */

/** Slots of the first array. */
const FIRST_CAPACITY = 64

/** Further back than this, what still lives is in the map. */
const LARGEST_CAPACITY = 65_536

export class NumberWindow<T> {
  private slots: (T | undefined)[] = new Array(FIRST_CAPACITY)
  /** Of the lowest number in the array: its slot. */
  private head = 0
  private first = 0
  /** Numbers from the first to the last that was added. */
  private span = 0
  private count = 0
  private stragglers: Map<number, T> | undefined

  get size(): number {
    return this.count + (this.stragglers === undefined ? 0 : this.stragglers.size)
  }

  get(number: number): T | undefined {
    const distance = number - this.first
    if (distance >= 0) return distance < this.span ? this.slots[this.slotOf(distance)] : undefined
    return this.stragglers?.get(number)
  }

  /** @param number higher than any before */
  add(number: number, item: T): void {
    if (this.span === 0) this.first = number
    while (number - this.first >= this.slots.length) {
      if (this.count === 0) this.restart(number)
      else if (this.slots.length < LARGEST_CAPACITY) this.grow()
      else this.leaveFirst()
    }
    const distance = number - this.first
    this.slots[this.slotOf(distance)] = item
    this.span = distance + 1
    this.count += 1
  }

  delete(number: number): void {
    const distance = number - this.first
    if (distance < 0) {
      this.stragglers?.delete(number)
      return
    }
    if (distance >= this.span) return
    const slot = this.slotOf(distance)
    if (this.slots[slot] === undefined) return
    this.slots[slot] = undefined
    this.count -= 1
    if (distance === 0) this.moveOn()
  }

  /** Those whose number is not higher, lowest first. */
  upTo(number: number): T[] {
    const items: T[] = []
    for (const [straggler, item] of this.stragglers ?? []) if (straggler <= number) items.push(item)
    const span = Math.min(this.span, number - this.first + 1)
    for (let distance = 0; distance < span; distance += 1) {
      const item = this.slots[this.slotOf(distance)]
      if (item !== undefined) items.push(item)
    }
    return items
  }

  private slotOf(distance: number): number {
    return (this.head + distance) & (this.slots.length - 1)
  }

  /** Passes what is not there any more. */
  private moveOn(): void {
    if (this.count === 0) return this.restart(this.first + this.span)
    while (this.slots[this.head] === undefined) this.pass()
  }

  private leaveFirst(): void {
    this.stragglers ??= new Map()
    this.stragglers.set(this.first, this.slots[this.head] as T)
    this.slots[this.head] = undefined
    this.count -= 1
    this.moveOn()
  }

  private pass(): void {
    this.head = this.slotOf(1)
    this.first += 1
    this.span -= 1
  }

  private restart(number: number): void {
    this.head = 0
    this.first = number
    this.span = 0
  }

  private grow(): void {
    const slots = new Array<T | undefined>(this.slots.length * 2)
    for (let distance = 0; distance < this.span; distance += 1) slots[distance] = this.slots[this.slotOf(distance)]
    this.slots = slots
    this.head = 0
  }
}
