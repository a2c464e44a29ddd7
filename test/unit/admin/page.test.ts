import assert from 'node:assert/strict'
import { test } from 'node:test'
import { booleanOf, ParameterError, pageOf } from '../../../src/admin/page.js'
import { RouteTable } from '../../../src/router/route-table.js'

const ROWS = Array.from({ length: 25 }, (_, index) => index)

function page(query: string, passes?: (row: number) => boolean) {
  return pageOf(ROWS, new URLSearchParams(query), passes)
}

test('pages follow one another without gap or overlap, and say how many rows there are', async () => {
  const pages = await Promise.all([1, 2, 3, 4].map((number) => page(`page=${number}&limit=10`)))
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

test('a page counts only the rows that pass', async () => {
  const { data, count } = await page('page=2&limit=3', (row) => row % 5 === 0)
  assert.deepEqual([data, count], [[15, 20], 5])
})

test('without a word it is the first hundred', async () => {
  const { data, page: number, limit } = await page('')
  assert.deepEqual([data.length, number, limit], [25, 1, 100])
})

test('a long list is read in short slices, while it changes', async () => {
  const table = new RouteTable()
  for (let number = 0; number < 200_000; number += 1) table.add(`n${number % 3}`, `t/${number}`)
  let isRead = false
  const reading = pageOf(table.all(), new URLSearchParams('page=20&limit=10000')).finally(() => {
    isRead = true
  })
  let turns = 0
  while (!isRead) {
    table.remove('n0', `t/${turns * 3}`)
    table.add('n1', `new/${turns}`)
    turns += 1
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { data, count } = await reading
  assert.ok(turns > 1, `${turns} turns`)
  assert.ok(Math.abs(count - 200_000) <= turns, `${count} rows, ${turns} changes`)
  assert.equal(new Set(data.map(([filter]) => filter)).size, 10_000)
})

test('what is no page is refused', async () => {
  for (const query of ['page=0', 'page=-1', 'page=1.5', 'page=x', 'limit=10001', 'limit=']) {
    await assert.rejects(() => page(query), ParameterError, query)
  }
  assert.throws(() => booleanOf(new URLSearchParams('yes=1'), 'yes'), /yes=1: expected true or false/)
})
