import assert from 'node:assert/strict'
import { it } from 'node:test'
import { InboundQos2 } from '../../../../src/mqtt/session/inbound-qos2.js'

it('an inbound QoS 2 id is known from its PUBLISH to its PUBREL', () => {
  const received = new InboundQos2<string>()
  assert.equal(received.get(5), undefined)
  received.add(5, 'first')
  assert.equal(received.get(5), 'first')
  assert.equal(received.size, 1)
  assert.equal(received.release(5), true)
  assert.equal(received.release(5), false)
  assert.equal(received.get(5), undefined)
  assert.equal(received.size, 0)
})
