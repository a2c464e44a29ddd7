import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MqttError } from '../../../../src/mqtt/wire/reason-codes.js'
import { decodeTopicName, TopicNames } from '../../../../src/mqtt/wire/topic-names.js'

test('a name that is looked up is the one that is decoded, however many share a place', () => {
  const topic = fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom('a', 'b', '/', 'é', '🐟') })
  fc.assert(
    fc.property(fc.array(topic, { maxLength: 200 }), (topics) => {
      const names = new TopicNames(4)
      for (const each of topics) {
        const chunk = Buffer.from(`..${each}.`)
        const slot = names.slotOf(chunk, 2, chunk.length - 1)
        assert.equal(names.nameAt(slot), each)
        assert.ok(names.isAt(slot, chunk, 2, chunk.length - 1))
        assert.ok(!names.isAt(slot, chunk, 1, chunk.length - 1))
      }
    }),
  )
})

test('of two names that share a place the one used last stays', () => {
  const names = new TopicNames(2)
  const [first, second, third] = ['a', 'b', 'c'].map((name) => Buffer.from(name)) as [Buffer, Buffer, Buffer]
  const slot = names.slotOf(first, 0, 1)
  names.slotOf(second, 0, 1)
  assert.equal(names.slotOf(first, 0, 1), slot)
  names.slotOf(third, 0, 1)
  assert.ok(names.isAt(slot, first, 0, 1), 'the one that was used last is still there')
})

test('a name is checked once it is new: what is none is never remembered', () => {
  const names = new TopicNames(2)
  for (const bad of [Buffer.from('a/+'), Buffer.from('#'), Buffer.from([0x61, 0]), Buffer.from([0xff])]) {
    for (let again = 0; again < 2; again += 1) {
      assert.throws(() => names.slotOf(bad, 0, bad.length), MqttError)
      assert.ok(!names.isAt(0, bad, 0, bad.length) && !names.isAt(1, bad, 0, bad.length))
    }
  }
})

test('a long name has no place, and is decoded each time', () => {
  const long = Buffer.from('l/'.repeat(100))
  assert.equal(new TopicNames(2).slotOf(long, 0, long.length), -1)
  assert.equal(decodeTopicName(long, 0, long.length), 'l/'.repeat(100))
})
