import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { clientFor } from '../support/client.js'
import { eventually } from '../support/eventually.js'

const broker = useBroker({
  mqtt: { receiveMaximum: 20, inflightWindow: 20, queueLength: 100, queueHoldTime: '2m' },
})

test('two MQTT.js clients of 3.1.1 that publish to each other all at once get everything, without waiting for the hold time', {
  timeout: 60_000,
}, async (t) => {
  const count = 2_000
  const url = `mqtt://127.0.0.1:${broker().port}`
  const sides = await Promise.all(
    ['one', 'two'].map(async (name) => {
      const client = await clientFor(t, url, { clientId: name, version: 4 })
      await client.subscribe(`to/${name}`, 1)
      return { name, client }
    }),
  )
  const [one, two] = sides
  assert.ok(one !== undefined && two !== undefined)
  const flood = (from: typeof one, to: typeof one): Promise<unknown> =>
    Promise.all(
      Array.from({ length: count }, (_, n) => from.client.publish(`to/${to.name}`, `${n}`.padEnd(64), { qos: 1 })),
    )
  await Promise.all([flood(one, two), flood(two, one)])
  const expected = Array.from({ length: count }, (_, n) => `${n}`.padEnd(64))
  for (const { client } of sides) await eventually(() => assert.deepEqual(client.payloads(), expected))
  const metrics = await broker().node().metrics()
  assert.equal(metrics.value('shoalmq_messages_dropped_total', { reason: 'queue_full' }), 0)
  assert.ok(metrics.value('shoalmq_input_paused_total', { reason: 'unacknowledged' }) > 0, 'both had to wait')
})
