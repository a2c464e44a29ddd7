/** Long lists come in pages: `?page=2&limit=100`. */

/** Rows of a page when the question does not say. */
const DEFAULT_LIMIT = 100
const MAXIMUM_LIMIT = 10_000

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
 * The page that the parameters ask for, of the rows that pass.
 * @throws ParameterError
 */
export function pageOf<Row>(
  rows: Iterable<Row>,
  parameters: URLSearchParams,
  passes: (row: Row) => boolean = () => true,
): Page<Row> {
  const page = numberOf(parameters, 'page', 1, Number.MAX_SAFE_INTEGER)
  const limit = numberOf(parameters, 'limit', DEFAULT_LIMIT, MAXIMUM_LIMIT)
  const first = (page - 1) * limit
  const data: Row[] = []
  let count = 0
  for (const row of rows) {
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
