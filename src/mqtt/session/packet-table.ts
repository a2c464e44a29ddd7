/**
 * What is in flight by its packet id, in the order in which it was added: what a Map does, in arrays of its own.
 *
 * A Map to which entries come and go all the time is copied into a new table each time the old one has no room left, and
 * the old one refers to the new one. Once such a table has reached the old generation of the heap, all tables after it and
 * what was in flight then outlive their use until that is collected, at up to twice the processor time per message.
 */

const SMALLEST = 8

export class PacketTable<T extends { readonly packetId: number }> {
  private slots: (T | undefined)[] = []
  /** When what is in each slot was added, as a count. */
  private orders: number[] = []
  private mask = -1
  private count = 0
  private added = 0

  get size(): number {
    return this.count
  }

  has(packetId: number): boolean {
    return this.get(packetId) !== undefined
  }

  get(packetId: number): T | undefined {
    return this.slots[this.slotOf(packetId)]
  }

  /** Adds what has a packet id that is not in the table, or takes the place of what has it. */
  set(entry: T): void {
    if (this.count * 2 > this.mask) this.grow()
    const slot = this.slotOf(entry.packetId)
    if (this.slots[slot] === undefined) {
      this.count++
      this.orders[slot] = this.added++
    }
    this.slots[slot] = entry
  }

  delete(packetId: number): void {
    const { slots, orders, mask } = this
    let free = this.slotOf(packetId)
    if (slots[free] === undefined) return
    this.count--
    // Those behind it that were pushed on move up, so that a search may end at the first empty slot.
    for (let slot = (free + 1) & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]
      if (entry === undefined) break
      if (((slot - this.homeOf(entry.packetId)) & mask) < ((slot - free) & mask)) continue
      slots[free] = entry
      orders[free] = orders[slot] as number
      free = slot
    }
    slots[free] = undefined
  }

  /** All of it as it is now, oldest first. */
  values(): T[] {
    const { slots, orders } = this
    const taken: number[] = []
    for (let slot = 0; slot < slots.length; slot++) if (slots[slot] !== undefined) taken.push(slot)
    taken.sort((a, b) => (orders[a] as number) - (orders[b] as number))
    return taken.map((slot) => slots[slot] as T)
  }

  /** Where the packet id is, or else where it would be. At least half of the slots are empty. */
  private slotOf(packetId: number): number {
    const { slots, mask } = this
    let slot = this.homeOf(packetId)
    for (;;) {
      const entry = slots[slot]
      if (entry === undefined || entry.packetId === packetId) return slot
      slot = (slot + 1) & mask
    }
  }

  /** Ids are given out in turn: with an empty slot behind each, whoever is taken out leaves nothing to be moved up. */
  private homeOf(packetId: number): number {
    return (packetId << 1) & this.mask
  }

  private grow(): void {
    const entries = this.values()
    const size = Math.max(SMALLEST, this.slots.length * 2)
    this.slots = new Array<T | undefined>(size).fill(undefined)
    this.orders = new Array<number>(size).fill(0)
    this.mask = size - 1
    this.count = 0
    this.added = 0
    for (const entry of entries) this.set(entry)
  }
}
