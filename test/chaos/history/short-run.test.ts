import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runHistory } from './run.js'

/** Of each kind one that shows something: a partition, a death with messages on their way, that of all nodes, a drain. */
const FAULTS = ['halves', 'kill behind a cut', 'kill all', 'drain'] as const

test('clients of a cluster under faults see what it promises', async (t) => {
  const { rounds, report } = await runHistory({
    seed: 20_261_121,
    nodes: 3,
    store: 'embedded',
    minutes: 5,
    rounds: FAULTS.length,
    faults: FAULTS,
    say: (text) => t.diagnostic(text),
  })
  assert.equal(report, '', report)
  assert.equal(rounds, FAULTS.length)
})
