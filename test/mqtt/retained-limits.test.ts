import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const LIMITS = { retainedMessages: 3, retainedBytes: 300 }

const broker = useBroker({ mqtt: LIMITS })

async function refused(reason: 'messages' | 'bytes'): Promise<number> {
  return (await broker().node().metrics()).value('shoalmq_retained_refused_total', { reason })
}

async function retainedTexts(client: PacketClient): Promise<string[]> {
  await client.subscribe('retained/#')
  const packets = await client.settle()
  await client.unsubscribe('retained/#')
  return packets.map(textOf).sort()
}

test('what cannot be retained is refused with 0x97 where the publisher can be told, and delivered only where not', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  const old = await PacketClient.connect(t, broker().port, 4)
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('live/#')
  const late = await PacketClient.connect(t, broker().port)
  const keep = (topic: string, payload: string) => ({ topic, payload, retain: true })

  for (const topic of ['1', '2', '3']) {
    assert.equal(await publisher.publishAcked(keep(`retained/${topic}`, topic)), 0x10)
  }
  for (const qos of [1, 2] as const) {
    assert.equal(await publisher.publishAcked({ ...keep('live/4', 'refused'), qos }), 0x97)
  }
  publisher.publish({ ...keep('live/4', 'refused'), qos: 1 })
  assert.match((await publisher.next('puback')).properties?.reasonString ?? '', /retained/)
  await subscriber.expectNothing()
  assert.equal(await refused('messages'), 3)

  publisher.publish(keep('live/4', 'QoS 0'))
  await publisher.settle()
  assert.equal(await old.publishAcked(keep('live/4', '3.1.1')), 0)
  assert.deepEqual((await subscriber.settle()).map(textOf), ['live/4 QoS 0', 'live/4 3.1.1'])
  assert.equal(await refused('messages'), 5)
  assert.deepEqual(await retainedTexts(late), ['retained/1 1', 'retained/2 2', 'retained/3 3'])

  const long = 'x'.repeat(LIMITS.retainedBytes)
  assert.equal(await publisher.publishAcked(keep('retained/2', long)), 0x97)
  assert.deepEqual(await retainedTexts(late), ['retained/1 1', 'retained/2 2', 'retained/3 3'], 'nothing has changed')
  assert.equal(await old.publishAcked(keep('retained/2', long)), 0)
  assert.deepEqual(await retainedTexts(late), ['retained/1 1', 'retained/3 3'], 'what it replaced is not the last one')
  assert.equal(await refused('bytes'), 2)
  assert.equal(await publisher.publishAcked(keep('retained/1', '')), 0x10, 'a removal needs no room')
  assert.equal(await publisher.publishAcked(keep('retained/4', '4')), 0x10)
  assert.deepEqual(await retainedTexts(late), ['retained/3 3', 'retained/4 4'])
})
