import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatTable } from '../../../src/cli/table.js'
import { formatUptime } from '../../../src/cli/uptime.js'

test('columns are as wide as their widest cell, numbers to the right, without trailing space', () => {
  const columns = [
    { title: 'NODE', read: (row: readonly [string, number, string]) => row[0] },
    { title: 'ROUTES', read: (row: readonly [string, number, string]) => String(row[1]), alignRight: true },
    { title: 'LINK', read: (row: readonly [string, number, string]) => row[2] },
  ]
  assert.deepEqual(
    formatTable(columns, [
      ['n1', 7, 'self'],
      ['node-12', 1234567, 'up'],
    ]),
    ['NODE       ROUTES   LINK', 'n1              7   self', 'node-12   1234567   up'],
  )
})

test('a table without rows is its titles', () => {
  assert.deepEqual(formatTable([{ title: 'A', read: () => '' }], []), ['A'])
})

test('an uptime is its two largest units', () => {
  const cases: [number, string][] = [
    [0, '0s'],
    [-3, '0s'],
    [59.9, '59s'],
    [60, '1m'],
    [725, '12m 5s'],
    [7_200, '2h'],
    [7_260, '2h 1m'],
    [273_600, '3d 4h'],
    [259_500, '3d'],
  ]
  for (const [seconds, expected] of cases) assert.equal(formatUptime(seconds), expected)
})
