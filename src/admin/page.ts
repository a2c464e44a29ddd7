/**
 * Long lists come in pages: `?page=2&limit=100`. Every row is looked at for each, since they are counted and filtered; a
 * million of them take a fraction of a second, in which the node has other things to do.
 */

import { setImmediate } from 'node:timers/promises'

/** Rows of a page when the question does not say. */
const DEFAULT_LIMIT = 100
const MAXIMUM_LIMIT = 10_000

/** Longest time for rows before the node does something else, in milliseconds. */
const SLICE_MS = 5
/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 128

/** One page of a list. Its JSON form is a contract: fields are added, never renamed. */
export interface Page<Row> {
  data: Row[]
  /** From 1. */
  page: number
  limit: number
  /** Rows in all pages together. */
  count: number
}

/** A parameter that is not as it should be: its name, its value and what is accepted. */
export class ParameterError extends Error {
  constructor(name: string, value: string, accepted: string) {
    super(`${name}=${value}: expected ${accepted}`)
    this.name = 'ParameterError'
  }
}

/**
 * The page that the parameters ask for, of the rows that pass. Long lists are read over several turns, in which they may
 * change: a row that is there all the time is counted, one that comes or goes meanwhile may be.
 * @param rows may be read while what they tell of changes
 * @throws ParameterError
 */
export async function pageOf<Row>(
  rows: Iterable<Row>,
  parameters: URLSearchParams,
  passes: (row: Row) => boolean = () => true,
): Promise<Page<Row>> {
  const page = numberOf(parameters, 'page', 1, Number.MAX_SAFE_INTEGER)
  const limit = numberOf(parameters, 'limit', DEFAULT_LIMIT, MAXIMUM_LIMIT)
  const first = (page - 1) * limit
  const data: Row[] = []
  let count = 0
  let looked = 0
  let begun = performance.now()
  for (const row of rows) {
    looked += 1
    if (looked % ROWS_PER_LOOK === 0 && performance.now() - begun > SLICE_MS) {
      await setImmediate()
      begun = performance.now()
    }
    if (!passes(row)) continue
    if (count >= first && data.length < limit) data.push(row)
    count += 1
  }
  return { data, page, limit, count }
}

function numberOf(parameters: URLSearchParams, name: string, fallback: number, highest: number): number {
  const text = parameters.get(name)
  if (text === null) return fallback
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > highest) {
    throw new ParameterError(name, text, `a whole number from 1 to ${highest}`)
  }
  return value
}

/** true, false, or undefined when the question does not say. @throws ParameterError */
export function booleanOf(parameters: URLSearchParams, name: string): boolean | undefined {
  const text = parameters.get(name)
  if (text === null) return undefined
  if (text !== 'true' && text !== 'false') throw new ParameterError(name, text, 'true or false')
  return text === 'true'
}
