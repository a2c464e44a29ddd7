/** One shelf of the embedded store: its entries are packed into segments, and read back from them. */

import type { ShelfContents, StoreShelf } from '../broker/store-port.js'
import { DueNumbers, type OnChange } from './due-table.js'
import type { Engine, EngineTable, EngineWrite } from './engine.js'
import { entryOf, readSegment, type Segment } from './segment.js'
import { readKey, type SegmentEntry, Segments } from './segments.js'

export class EmbeddedShelf extends DueNumbers implements StoreShelf {
  private readonly segments: Segments
  /** The record that was read last, until it is known whether bits follow. */
  private unfinished: { readonly start: number; readonly record: Buffer } | undefined

  constructor(
    private readonly engine: Engine,
    readonly table: EngineTable,
    private readonly contents: ShelfContents,
    onChange: OnChange,
  ) {
    super(onChange)
    this.segments = new Segments((key) => engine.get(table, key))
  }

  get(number: number): Buffer | undefined {
    return this.segments.get(number)
  }

  /** @returns entries that were given back. @throws StoreError STORE_DAMAGED */
  restore(key: Buffer, value: Buffer): number {
    const { start, isBits } = readKey(key)
    if (isBits && this.unfinished?.start !== start) throw this.engine.damage('bits without a segment')
    const entries = this.finish(isBits ? value : undefined)
    if (!isBits) this.unfinished = { start, record: value }
    return entries
  }

  /** All records were read. @throws StoreError STORE_DAMAGED */
  restored(): number {
    return this.finish(undefined)
  }

  *writes(numbers: Iterable<number>): Generator<EngineWrite> {
    const { table, contents } = this
    const removed: number[] = []
    const entries: SegmentEntry[] = []
    for (const number of numbers) {
      const value = contents.read(number)
      if (value === undefined) removed.push(number)
      else entries.push({ number, value })
    }
    for (const { key, value } of this.segments.prepare({ removed, entries })) yield { table, key, value }
  }

  override putBack(numbers: Set<number>): void {
    this.segments.discard()
    super.putBack(numbers)
  }

  tellKept(numbers: Set<number>): void {
    this.segments.commit()
    for (const number of numbers) this.contents.kept(number)
  }

  private finish(bits: Buffer | undefined): number {
    const { unfinished } = this
    this.unfinished = undefined
    if (unfinished === undefined) return 0
    const { start, record } = unfinished
    const segment = readSegment(start, record, bits)
    if (segment === undefined) throw this.engine.damage('a segment is not whole')
    this.segments.restore(segment)
    this.giveBack(segment, record)
    return segment.live
  }

  private giveBack({ start, sizes }: Segment, record: Buffer): void {
    for (let distance = 0; distance < sizes.length; distance += 1) {
      if (sizes[distance] === 0) continue
      const value = entryOf(record, distance)
      if (value !== undefined) this.contents.restore(start + distance, value)
    }
  }
}
