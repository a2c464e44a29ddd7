/**
 * One record of a shelf on the disk, a segment: up to `SEGMENT_BYTES` of entries whose numbers follow one another, so that
 * a thousand messages cost one write, one read and one removal. Which of its entries still count is a record beside it, a
 * bit for each number; there is none while all of them do.
 *
 * Layout, as part of the store's schema version: the number of entries (4 bytes), of each how far it is from the first
 * number (2) and where it ends (4), then the entries.
 */

/** Eight pages of LMDB less the head of the first: a record that does not fit a page has whole pages of its own. */
export const SEGMENT_BYTES = 8 * 4096 - 16

/** Numbers from the first to the last of a segment, and one: its bits have at most a kilobyte. */
export const SEGMENT_SPAN = 8_192

const HEAD_BYTES = 4
const ENTRY_BYTES = 6
const END_AT = 2

/** A larger one has a segment of its own, and need not be told from others. */
const LARGEST_SIZE = 0xffff

/** What is known of a segment in memory. */
export class Segment {
  /** Of the entries that count. */
  live = 0
  liveBytes = 0

  /**
   * @param start its first number
   * @param bytes of its record
   * @param sizes by number, from the first: bytes of the entry and one; 0 where there is none
   * @param hasBits some of its entries do not count, as a record beside it says
   */
  constructor(
    readonly start: number,
    readonly bytes: number,
    readonly sizes: Uint16Array,
    public hasBits: boolean,
  ) {
    for (const size of sizes) {
      if (size === 0) continue
      this.live += 1
      this.liveBytes += ENTRY_BYTES + size - 1
    }
  }

  has(number: number): boolean {
    return (this.sizes[number - this.start] ?? 0) > 0
  }

  /** Bytes of the record that an entry takes. */
  static bytesOf(value: { readonly length: number }): number {
    return ENTRY_BYTES + value.length
  }

  /** By its distance from the first number. */
  bytesAt(distance: number): number {
    return ENTRY_BYTES + (this.sizes[distance] ?? 1) - 1
  }

  /** These entries, by their distances from the first number, do not count any more. */
  forget(distances: readonly number[]): void {
    for (const distance of distances) {
      this.live -= 1
      this.liveBytes -= this.bytesAt(distance)
      this.sizes[distance] = 0
    }
    this.hasBits = true
  }

  /** A bit for each number whose entry counts, but for these. */
  bitsWithout(distances: readonly number[]): Buffer {
    const { sizes } = this
    const bits = Buffer.alloc((sizes.length + 7) >> 3)
    for (let distance = 0; distance < sizes.length; distance += 1) {
      if (sizes[distance] !== 0) setBit(bits, distance, true)
    }
    for (const distance of distances) setBit(bits, distance, false)
    return bits
  }
}

/** Gathers entries, lowest number first, until no more of them fit. */
export class SegmentBuilder {
  private readonly numbers: number[] = []
  private readonly values: Uint8Array[] = []
  private bytes = HEAD_BYTES

  get isEmpty(): boolean {
    return this.numbers.length === 0
  }

  /** A first one always fits. */
  fits(number: number, value: Uint8Array): boolean {
    if (this.isEmpty) return true
    const isNear = number - (this.numbers[0] ?? 0) < SEGMENT_SPAN
    return isNear && this.bytes + Segment.bytesOf(value) <= SEGMENT_BYTES
  }

  add(number: number, value: Uint8Array): void {
    this.numbers.push(number)
    this.values.push(value)
    this.bytes += Segment.bytesOf(value)
  }

  /** Makes the segment, and begins anew. */
  take(): { readonly segment: Segment; readonly record: Buffer } {
    const { numbers, values } = this
    const [start = 0] = numbers
    const record = Buffer.allocUnsafeSlow(this.bytes)
    const sizes = new Uint16Array((numbers[numbers.length - 1] ?? start) - start + 1)
    const base = HEAD_BYTES + ENTRY_BYTES * numbers.length
    record.writeUInt32LE(numbers.length, 0)
    let at = HEAD_BYTES
    let end = base
    for (let index = 0; index < numbers.length; index += 1, at += ENTRY_BYTES) {
      const value = values[index] as Uint8Array
      const distance = (numbers[index] ?? 0) - start
      record.set(value, end)
      end += value.length
      record.writeUInt16LE(distance, at)
      record.writeUInt32LE(end - base, at + END_AT)
      sizes[distance] = Math.min(value.length + 1, LARGEST_SIZE)
    }
    const segment = new Segment(start, this.bytes, sizes, false)
    numbers.length = 0
    values.length = 0
    this.bytes = HEAD_BYTES
    return { segment, record }
  }
}

/** The entry at a distance from the first number, as a part of the record; undefined when it is not there. */
export function entryOf(record: Buffer, distance: number): Buffer | undefined {
  const count = record.readUInt32LE(0)
  // Mostly no number is left out: then this is its index, and it cannot be further.
  let low = 0
  let high = Math.min(count - 1, distance)
  for (let index = high; low <= high; index = (low + high) >> 1) {
    const found = record.readUInt16LE(HEAD_BYTES + ENTRY_BYTES * index)
    if (found === distance) return entryAt(record, count, index)
    if (found < distance) low = index + 1
    else high = index - 1
  }
  return undefined
}

/**
 * A segment as it is found on the disk; undefined when it is none.
 * @param bits of those entries that count; undefined: all do
 */
export function readSegment(start: number, record: Buffer, bits: Buffer | undefined): Segment | undefined {
  const count = record.length < HEAD_BYTES ? 0 : record.readUInt32LE(0)
  const base = HEAD_BYTES + ENTRY_BYTES * count
  if (count === 0 || base > record.length) return undefined
  const span = record.readUInt16LE(base - ENTRY_BYTES) + 1
  if (span > SEGMENT_SPAN || (bits !== undefined && bits.length !== (span + 7) >> 3)) return undefined
  const sizes = new Uint16Array(span)
  let [before, end] = [-1, 0]
  for (let at = HEAD_BYTES; at < base; at += ENTRY_BYTES) {
    const distance = record.readUInt16LE(at)
    const next = record.readUInt32LE(at + END_AT)
    if (distance <= before || next < end) return undefined
    if (bits === undefined || isSet(bits, distance)) sizes[distance] = Math.min(next - end + 1, LARGEST_SIZE)
    before = distance
    end = next
  }
  if (base + end !== record.length || before !== span - 1) return undefined
  return new Segment(start, record.length, sizes, bits !== undefined)
}

function entryAt(record: Buffer, count: number, index: number): Buffer {
  const base = HEAD_BYTES + ENTRY_BYTES * count
  const at = HEAD_BYTES + ENTRY_BYTES * index + END_AT
  const start = index === 0 ? 0 : record.readUInt32LE(at - ENTRY_BYTES)
  return record.subarray(base + start, base + record.readUInt32LE(at))
}

function isSet(bits: Buffer, distance: number): boolean {
  return ((bits[distance >> 3] ?? 0) & (1 << (distance & 7))) !== 0
}

function setBit(bits: Buffer, distance: number, isOn: boolean): void {
  const byte = bits[distance >> 3] ?? 0
  const bit = 1 << (distance & 7)
  bits[distance >> 3] = isOn ? byte | bit : byte & ~bit
}
