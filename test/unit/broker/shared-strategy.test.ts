import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { SharedStrategy } from '../../../src/config/mqtt-options.js'
import { LoneBroker } from './lone-broker.js'

/** How many of six messages each of two members got, the one with more first. */
async function shares(lone: LoneBroker, group: string): Promise<number[]> {
  const members = [await lone.connect({ clientId: `${group}-1` }), await lone.connect({ clientId: `${group}-2` })]
  for (const member of members) await member.subscribe(`$share/${group}/work`)
  for (let count = 0; count < 6; count += 1) lone.broker.publish({ topic: 'work', payload: `${count}` })
  const got = await Promise.all(members.map(async (member) => (await member.settle()).length))
  return got.sort((one, other) => other - one)
}

describe('mqtt.sharedStrategy', () => {
  const expected: readonly [SharedStrategy, readonly number[]][] = [
    ['round_robin', [3, 3]],
    ['sticky', [6, 0]],
    ['hash_topic', [6, 0]],
  ]
  for (const [strategy, counts] of expected) {
    it(`${strategy} is how a group shares that has no strategy of its own`, async (t) => {
      const lone = new LoneBroker(t, { mqtt: { sharedStrategy: strategy, sharedGroups: { turns: 'round_robin' } } })
      assert.deepEqual(await shares(lone, 'any'), counts)
    })
  }

  it('gives way to the strategy of a group', async (t) => {
    const lone = new LoneBroker(t, { mqtt: { sharedStrategy: 'sticky', sharedGroups: { turns: 'round_robin' } } })
    assert.deepEqual(await shares(lone, 'turns'), [3, 3])
  })
})
