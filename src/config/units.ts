/** Durations and sizes as people write them ("30s", "64kb") to the numbers that the program works with, and back. */

const MILLISECONDS_PER = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Sizes are powers of 1024, as memory is counted. */
const BYTES_PER = { b: 1, kb: 1_024, mb: 1_048_576, gb: 1_073_741_824 } as const

/** A whole number with an optional unit behind it: no sign, no fraction, no compound such as "1h30m". */
const QUANTITY = /^(\d+) ?([a-z]+)?$/i

/** The text or number is not a duration or a size. */
export class UnitError extends Error {
  override readonly name = 'UnitError'
}

/**
 * Milliseconds of "500ms", "30s", "5m", "2h", "7d"; a bare number is milliseconds.
 * @throws UnitError when it is anything else, negative, fractional or too large to be exact.
 */
export function parseDuration(value: string | number): number {
  return parseQuantity(value, MILLISECONDS_PER, 'a duration such as 500ms, 30s, 5m, 2h or 7d')
}

/**
 * Bytes of "512b", "64kb", "16mb", "1gb" (powers of 1024); a bare number is bytes.
 * @throws UnitError when it is anything else, negative, fractional or too large to be exact.
 */
export function parseSize(value: string | number): number {
  return parseQuantity(value, BYTES_PER, 'a size such as 512b, 64kb, 16mb or 1gb')
}

/** The shortest exact text of a duration: 90000 is "90s", 60000 is "1m". */
export function formatDuration(milliseconds: number): string {
  return formatQuantity(milliseconds, MILLISECONDS_PER, 'ms')
}

/** The shortest exact text of a size: 32768 is "32kb". */
export function formatSize(bytes: number): string {
  return formatQuantity(bytes, BYTES_PER, 'b')
}

function parseQuantity(value: string | number, unitSizes: Readonly<Record<string, number>>, accepted: string): number {
  const amount = typeof value === 'number' ? value : quantityOf(value.trim(), unitSizes)
  if (amount === undefined || !Number.isSafeInteger(amount) || amount < 0) {
    throw new UnitError(`${JSON.stringify(value)} is not ${accepted}`)
  }
  return amount
}

function quantityOf(text: string, unitSizes: Readonly<Record<string, number>>): number | undefined {
  const match = QUANTITY.exec(text)
  if (match?.[1] === undefined) return undefined
  const unit = match[2]?.toLowerCase()
  if (unit === undefined) return Number(match[1])
  const unitSize = Object.hasOwn(unitSizes, unit) ? unitSizes[unit] : undefined
  return unitSize === undefined ? undefined : Number(match[1]) * unitSize
}

function formatQuantity(amount: number, unitSizes: Readonly<Record<string, number>>, smallest: string): string {
  if (amount === 0) return '0'
  let best = `${amount}${smallest}`
  for (const [unit, size] of Object.entries(unitSizes)) {
    if (amount % size === 0) best = `${amount / size}${unit}`
  }
  return best
}
