import assert from 'node:assert/strict'
import { test } from 'node:test'
import { booleanOf, ParameterError, pageOf } from '../../../src/admin/page.js'

const ROWS = Array.from({ length: 25 }, (_, index) => index)

function page(query: string, passes?: (row: number) => boolean) {
  return pageOf(ROWS, new URLSearchParams(query), passes)
}

test('pages follow one another without gap or overlap, and say how many rows there are', () => {
  const pages = [1, 2, 3, 4].map((number) => page(`page=${number}&limit=10`))
  assert.deepEqual(
    pages.flatMap(({ data }) => data),
    ROWS,
  )
  assert.deepEqual(
    pages.map(({ data, count }) => [data.length, count]),
    [
      [10, 25],
      [10, 25],
      [5, 25],
      [0, 25],
    ],
  )
})

test('a page counts only the rows that pass', () => {
  const { data, count } = page('page=2&limit=3', (row) => row % 5 === 0)
  assert.deepEqual([data, count], [[15, 20], 5])
})

test('without a word it is the first hundred', () => {
  const { data, page: number, limit } = page('')
  assert.deepEqual([data.length, number, limit], [25, 1, 100])
})

test('what is no page is refused', () => {
  for (const query of ['page=0', 'page=-1', 'page=1.5', 'page=x', 'limit=10001', 'limit=']) {
    assert.throws(() => page(query), ParameterError, query)
  }
  assert.throws(() => booleanOf(new URLSearchParams('yes=1'), 'yes'), /yes=1: expected true or false/)
})
