import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { MoveLog } from '../../../src/cluster/takeover/move-log.js'

function logged(): { lines: Record<string, unknown>[]; log: pino.Logger } {
  const lines: Record<string, unknown>[] = []
  const log = pino({ base: null, timestamp: false }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  return { lines, log }
}

test('of thousands of sessions that do not come the first has a line, the others one together', () => {
  const { lines, log } = logged()
  let now = 0
  const moves = new MoveLog(log, () => now)
  for (let index = 0; index < 1_000; index += 1) moves.note('timed_out', `client-${index}`, ['b@host'])
  for (let index = 0; index < 20; index += 1) moves.note('marks_missing', `client-${index}`, ['b@host', 'c@host'])
  moves.checkTime(9_999)
  assert.deepEqual(
    lines.map(({ clientId, outcome, peers }) => ({ clientId, outcome, peers })),
    [{ clientId: 'client-0', outcome: 'timed_out', peers: ['b@host'] }],
  )
  now = 10_000
  moves.checkTime(now)
  moves.checkTime(now + 60_000)
  assert.equal(lines.length, 2)
  assert.deepEqual(lines[1]?.sessions, { timed_out: 999, marks_missing: 20 })
})

test('a session that does not come after a quiet time has a line of its own', () => {
  const { lines, log } = logged()
  let now = 0
  const moves = new MoveLog(log, () => now)
  moves.note('unreachable', 'first', ['b@host'])
  now = 20_000
  moves.note('cut_short', 'second', ['b@host'])
  assert.deepEqual(
    lines.map(({ clientId, sessions }) => [clientId, sessions]),
    [
      ['first', undefined],
      ['second', undefined],
    ],
  )
})
