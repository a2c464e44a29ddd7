import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { InboundTopicAliases } from '../../../src/mqtt/topic-alias.js'

describe('topic aliases of a client', () => {
  it('stand for the topic they were last set to', () => {
    const aliases = new InboundTopicAliases(2)
    assert.equal(aliases.resolve(1, 'a'), 'a')
    assert.equal(aliases.resolve(2, 'b'), 'b')
    assert.equal(aliases.resolve(1, ''), 'a')
    assert.equal(aliases.resolve(1, 'c'), 'c')
    assert.equal(aliases.resolve(1, ''), 'c')
    assert.equal(aliases.resolve(2, ''), 'b')
  })

  it('are refused above the announced maximum, and all of them when it is 0 [MQTT-3.3.2-9]', () => {
    assert.throws(() => new InboundTopicAliases(2).resolve(3, 'a'), { reasonCode: 0x94 })
    assert.throws(() => new InboundTopicAliases(0).resolve(1, 'a'), { reasonCode: 0x94 })
  })

  it('are refused before they were set', () => {
    assert.throws(() => new InboundTopicAliases(2).resolve(2, ''), { reasonCode: 0x82 })
  })
})
