/** A binary heap: the first of many by an order, without keeping all of them sorted. */

export class Heap<T> {
  private items: T[] = []

  /** @param compare negative when the first argument comes before the second */
  constructor(private readonly compare: (a: T, b: T) => number) {}

  get length(): number {
    return this.items.length
  }

  /** The first by the order; undefined when there is none. */
  peek(): T | undefined {
    return this.items[0]
  }

  push(item: T): void {
    this.items.push(item)
    this.raise(this.items.length - 1)
  }

  /** Takes the first out. */
  pop(): T | undefined {
    const first = this.items[0]
    const last = this.items.pop()
    if (this.items.length > 0) {
      this.items[0] = last as T
      this.sink(0)
    }
    return first
  }

  /** Drops whatever the predicate does not hold for. O(n). */
  keepOnly(isKept: (item: T) => boolean): void {
    this.items = this.items.filter(isKept)
    for (let index = (this.items.length >>> 1) - 1; index >= 0; index -= 1) this.sink(index)
  }

  private raise(from: number): void {
    const item = this.items[from] as T
    let index = from
    while (index > 0) {
      const above = (index - 1) >>> 1
      const parent = this.items[above] as T
      if (this.compare(item, parent) >= 0) break
      this.items[index] = parent
      index = above
    }
    this.items[index] = item
  }

  private sink(from: number): void {
    const { items } = this
    const item = items[from] as T
    let index = from
    for (;;) {
      let below = 2 * index + 1
      if (below >= items.length) break
      if (below + 1 < items.length && this.compare(items[below + 1] as T, items[below] as T) < 0) below += 1
      if (this.compare(item, items[below] as T) <= 0) break
      items[index] = items[below] as T
      index = below
    }
    items[index] = item
  }
}
