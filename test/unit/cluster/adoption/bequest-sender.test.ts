import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DebtClaim, DebtCollector, Estate } from '../../../../src/broker/estate-port.js'
import { BequestSender, type Fate } from '../../../../src/cluster/adoption/bequest-sender.js'
import type { Bequest } from '../../../../src/cluster/adoption/bequests.js'
import { EstateSteps } from '../../../../src/cluster/adoption/estate-steps.js'
import { createAdoptionMetrics } from '../../../../src/cluster/adoption/metrics.js'
import type { Hint } from '../../../../src/cluster/stored-hint.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'
import { eventually } from '../../../support/eventually.js'

const RECEIVER = 'n3@c'
const LAST_HINT = 7

/** What n2 has left: hints for n3, and a claim as the store keeps it. */
class Scene {
  fate: Fate = 'here'
  claim: DebtClaim | undefined
  readonly done: string[] = []
  isFailing = false
  private readonly metrics = createAdoptionMetrics(new MetricRegistry(), () => 0)
  private readonly steps = new EstateSteps()

  /** As one try of an adoption has it. */
  sender(): BequestSender {
    const claimDebts = async (_: string, by: DebtCollector, upTo: number): Promise<DebtClaim | undefined> => {
      if (upTo > 0) this.claim ??= { by, upTo }
      return this.claim
    }
    const hint: Hint = {
      ...{ number: LAST_HINT, incarnation: 1, sequence: 1, receiver: 1, madeAt: 0 },
      ...{ count: 1, continued: false, entries: Buffer.alloc(0) },
    }
    const bequest: Bequest = { node: 'n2@b', receiver: RECEIVER, since: 1, hints: [hint] }
    return new BequestSender({ claimDebts } as Partial<Estate> as Estate, [bequest], new Map(), {
      fateOf: async () => this.fate,
      positionsOf: async () => Buffer.from('as stored'),
      sendOn: async (_, positions, { groups, plainFrom }) => {
        if (this.isFailing) throw new Error('the store is away')
        if (groups) this.done.push('groups')
        if (plainFrom < LAST_HINT) this.done.push(`sent, ${positions}`)
        return 1
      },
      giveUp: (_bequest, _positions, plainFrom) => {
        if (plainFrom < LAST_HINT) this.done.push('given up')
      },
      once: (step, work) => this.steps.once('estate', step, work),
      metrics: this.metrics,
    })
  }
}

describe('what a node that is down has owed', () => {
  it('is sent to a receiver that can be reached, and is nobody else’s from then on', async () => {
    const scene = new Scene()
    const sender = scene.sender()
    await sender.send()
    await sender.whenKept()
    assert.deepEqual(scene.done, ['groups', 'sent, as stored'])
    assert.deepEqual(scene.claim, { by: 'debtor', upTo: LAST_HINT })
  })

  it('is left to the heir of a receiver that is down, and stays until that one has it', async () => {
    const scene = new Scene()
    scene.fate = 'lost'
    const sender = scene.sender()
    const sent = sender.send()
    await eventually(() => assert.deepEqual(scene.done, ['groups']))
    scene.claim = { by: 'receiver', upTo: LAST_HINT }
    scene.fate = 'taken'
    await sent
    let isKept = false
    const kept = sender.whenKept().then(() => {
      isKept = true
    })
    await new Promise(setImmediate)
    assert.equal(isKept, false)
    scene.fate = 'settled'
    await kept
    assert.deepEqual(scene.done, ['groups'])
  })

  it('is sent to a receiver that comes back before it has an heir', async () => {
    const scene = new Scene()
    scene.fate = 'lost'
    const sent = scene.sender().send()
    await eventually(() => assert.deepEqual(scene.done, ['groups']))
    scene.fate = 'here'
    await sent
    assert.deepEqual(scene.done, ['groups', 'sent, as stored'])
  })

  it('is not sent to a further life of a receiver whose sessions had it from its heir, save what is for groups', async () => {
    const scene = new Scene()
    scene.claim = { by: 'receiver', upTo: LAST_HINT }
    await scene.sender().send()
    assert.deepEqual(scene.done, ['groups'])
  })

  it('is kept as what this node owes when the heir of the receiver has not asked for it', async () => {
    const scene = new Scene()
    scene.fate = 'taken'
    await scene.sender().send()
    assert.deepEqual(scene.done, ['groups', 'sent, as stored'])
    assert.deepEqual(scene.claim, { by: 'debtor', upTo: LAST_HINT })
  })

  it('is given up and counted when the sessions of the receiver have their heir, who has not had it', async () => {
    for (const fate of ['settled', 'gone'] as const) {
      const scene = new Scene()
      scene.fate = fate
      await scene.sender().send()
      assert.deepEqual(scene.done, ['groups', 'given up'])
    }
  })

  it('goes on once, though the adoption is tried again', async () => {
    const scene = new Scene()
    scene.isFailing = true
    await assert.rejects(scene.sender().send(), /the store is away/)
    scene.isFailing = false
    for (let count = 0; count < 2; count += 1) await scene.sender().send()
    assert.deepEqual(scene.done, ['groups', 'sent, as stored'])
  })

  it('stays in the store when this node stops meanwhile', async () => {
    const scene = new Scene()
    scene.fate = 'taken'
    scene.claim = { by: 'receiver', upTo: LAST_HINT }
    const sender = scene.sender()
    await sender.send()
    sender.stop()
    await assert.rejects(sender.whenKept(), { code: 'STOPPED' })
  })
})
