import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { HandoffModel } from './handoff-model.js'

const USUAL = ['offer', 'offer', 'send', 'hear', 'acknowledge', 'commitSender', 'commitReceiver'] as const
const FAULTS = ['cut', 'down', 'reconnect', 'reconnect', 'killReceiver', 'killSender'] as const
const STEPS = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...USUAL) },
  { weight: 1, arbitrary: fc.constantFrom(...FAULTS) },
)
const ARRIVALS = fc.constantFrom('beginArrival' as const, 'arrive' as const)

/** Acknowledged is there, nothing is there twice, and all is in order. */
function judge(model: HandoffModel): void {
  const { got, acknowledged, offered } = model
  assert.deepEqual(
    acknowledged.filter((text) => !got.includes(text)),
    [],
    'acknowledged, and not there',
  )
  assert.equal(new Set(got).size, got.length, `twice: ${got.join(' ')}`)
  assert.deepEqual(
    got,
    offered.map(({ text }) => text).filter((text) => got.includes(text)),
    'not in order',
  )
  assert.equal(model.owed, 0)
}

describe('what a peer is owed', () => {
  it('comes once and in order, whoever is killed, when the publisher is remembered', () => {
    fc.assert(
      fc.property(fc.array(STEPS, { maxLength: 120, size: 'max' }), (steps) => {
        const model = new HandoffModel()
        for (const step of steps) model[step]()
        model.settle()
        judge(model)
      }),
      { numRuns: 400 },
    )
  })

  it('comes once and in order when it was in memory, too', () => {
    fc.assert(
      fc.property(fc.array(STEPS, { maxLength: 120, size: 'max' }), (steps) => {
        const model = new HandoffModel()
        model.forget()
        for (const step of steps) model[step]()
        model.settle()
        judge(model)
      }),
      { numRuns: 400 },
    )
  })

  it('is not taken for kept while a session that is on its way cannot be', () => {
    const steps = fc.array(fc.oneof({ weight: 8, arbitrary: STEPS }, { weight: 1, arbitrary: ARRIVALS }), {
      maxLength: 100,
      size: 'max',
    })
    fc.assert(
      fc.property(steps, (all) => {
        const model = new HandoffModel()
        for (const step of all) model[step]()
        model.settle()
        const { got, acknowledged } = model
        assert.deepEqual(
          acknowledged.filter((text) => !got.includes(text)),
          [],
        )
        assert.equal(new Set(got).size, got.length)
      }),
      { numRuns: 300 },
    )
  })
})
