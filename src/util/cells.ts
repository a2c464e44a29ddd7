/**
 * Memory for many small things of different sizes, outside V8's heap: pages of cells, the cells of a page of one size.
 * A page without a cell in use is given back, so what has been freed serves any size again. A cell never moves.
 */

import { NodeError } from './errors.js'

export const PAGE_BYTES = 64 * 1024

/** Sizes of cells are multiples of this up to `FINE_BYTES`, then eight to a power of two. */
const STEP_BYTES = 8
const SMALLEST_CELL_BYTES = 32
const FINE_BYTES = 256
const STEPS_PER_DOUBLING = 8
/** A larger thing has a page of its own size. */
const LARGEST_CELL_BYTES = PAGE_BYTES / 8

/** Of an address: the number of the cell in its page. The rest is the number of the page, from 1. */
const CELL_BITS = Math.log2(PAGE_BYTES / SMALLEST_CELL_BYTES)
const CELL_MASK = (1 << CELL_BITS) - 1
/** An address has 32 bits: that is 128 GiB, or two million things that have pages of their own. */
const MAXIMUM_PAGES = 2 ** (32 - CELL_BITS) - 1

/** What a cell begins with: 0 in one that is free, else its owner's, who writes another number there. */
const MARK_BYTES = 4

interface Page {
  readonly bytes: Buffer
  readonly cellBytes: number
  readonly cells: number
  /** Cells that have been handed out at least once. */
  begun: number
  used: number
  /** Cells that are free again, each of which has the next one's number in it, plus one; 0 when there is none. */
  free: number
  /** In the list of pages of this size that have room; -1 when it is full. */
  place: number
}

export class Cells {
  /** By number; that of address 0 is nobody's. */
  private readonly pages: (Page | undefined)[] = [undefined]
  private readonly freeNumbers: number[] = []
  /** By size of cell: numbers of pages with a cell that is free. */
  private readonly open = new Map<number, number[]>()
  private byteCount = 0

  /** Of all pages. */
  get bytes(): number {
    return this.byteCount
  }

  /**
   * An address, never 0, of so many bytes or more; the owner marks them before anything else happens here.
   * @throws NodeError CELLS_FULL when there are no addresses any more
   */
  take(bytes: number): number {
    const size = cellSize(bytes)
    const open = this.open.get(size) ?? []
    if (open.length === 0) this.open.set(size, open)
    const number = open.at(-1) ?? this.addPage(size, open)
    const page = this.pages[number] as Page
    let cell = page.begun
    if (page.free === 0) page.begun += 1
    else {
      cell = page.free - 1
      page.free = page.bytes.readUInt32LE(cell * page.cellBytes + MARK_BYTES)
    }
    page.used += 1
    if (page.used === page.cells) this.close(page, open)
    return number * (CELL_MASK + 1) + cell
  }

  give(address: number): void {
    const number = pageOf(address)
    const page = this.pages[number] as Page
    const cell = address & CELL_MASK
    const open = this.open.get(page.cellBytes) as number[]
    page.used -= 1
    // The last one with room stays: what is written again and again needs no new page each time.
    if (page.used === 0 && (page.cells === 1 || open.length > 1)) {
      if (page.place !== -1) this.close(page, open)
      this.pages[number] = undefined
      this.freeNumbers.push(number)
      this.byteCount -= page.bytes.length
      return
    }
    const at = cell * page.cellBytes
    page.bytes.writeUInt32LE(0, at)
    page.bytes.writeUInt32LE(page.free, at + MARK_BYTES)
    page.free = cell + 1
    if (page.place === -1) page.place = open.push(number) - 1
  }

  /** Whether so many bytes would have a cell of the same size. */
  fits(address: number, bytes: number): boolean {
    return (this.pages[pageOf(address)] as Page).cellBytes === cellSize(bytes)
  }

  /** The page of an address. */
  page(address: number): Buffer {
    return (this.pages[pageOf(address)] as Page).bytes
  }

  /** Where it begins in its page. */
  offset(address: number): number {
    return (address & CELL_MASK) * (this.pages[pageOf(address)] as Page).cellBytes
  }

  /** Addresses in use. Cells may be taken and given meanwhile: those that were in use all the time are among them. */
  *addresses(): Generator<number> {
    for (let number = 1; number < this.pages.length; number += 1) {
      for (let cell = 0; ; cell += 1) {
        // Another page may have this number by now: asked anew for each cell.
        const page = this.pages[number]
        if (page === undefined || cell >= page.begun) break
        if (page.bytes.readUInt32LE(cell * page.cellBytes) !== 0) yield number * (CELL_MASK + 1) + cell
      }
    }
  }

  private addPage(size: number, open: number[]): number {
    const isShared = size <= LARGEST_CELL_BYTES
    const bytes = Buffer.allocUnsafeSlow(isShared ? PAGE_BYTES : size)
    const cells = isShared ? Math.floor(PAGE_BYTES / size) : 1
    const number = this.freeNumbers.pop() ?? this.pages.length
    if (number > MAXIMUM_PAGES) throw new NodeError('there are no addresses for more', { code: 'CELLS_FULL', number })
    const place = open.push(number) - 1
    this.pages[number] = { bytes, cellBytes: size, cells, begun: 0, used: 0, free: 0, place }
    this.byteCount += bytes.length
    return number
  }

  /** Takes a page from the list of those with room; the last one has its place then. */
  private close(page: Page, open: number[]): void {
    const last = open.pop() as number
    if (page.place < open.length) {
      open[page.place] = last
      ;(this.pages[last] as Page).place = page.place
    }
    page.place = -1
    if (open.length === 0 && page.cells === 1) this.open.delete(page.cellBytes)
  }
}

function pageOf(address: number): number {
  return address >>> CELL_BITS
}

function cellSize(bytes: number): number {
  if (bytes > LARGEST_CELL_BYTES) return bytes
  if (bytes <= SMALLEST_CELL_BYTES) return SMALLEST_CELL_BYTES
  const step = bytes <= FINE_BYTES ? STEP_BYTES : 2 ** (31 - Math.clz32(bytes - 1)) / STEPS_PER_DOUBLING
  return Math.ceil(bytes / step) * step
}
