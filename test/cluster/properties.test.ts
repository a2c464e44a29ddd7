/** What MQTT 5 says of a message holds for subscribers on other nodes, too. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { type ConnectFields, PacketClient, textOf, uniqueClientId } from '../support/packet-client.js'

const cluster = useCluster({ nodes: 2 })

function connect(t: TestContext, node: number, fields: ConnectFields = {}): Promise<PacketClient> {
  return PacketClient.connect(t, cluster().node(node).ports.mqtt, 5, fields)
}

const PROPERTIES = {
  payloadFormatIndicator: true,
  contentType: 'text/plain',
  responseTopic: 'answer/ö',
  correlationData: Buffer.from([0, 255, 1]),
  userProperties: { b: ['2', '1', '2'], a: '1', '': '' },
}

test('[MQTT-3.3.2-17] the properties of a message reach subscribers on another node as they are', async (t) => {
  const subscriber = await connect(t, 2)
  await subscriber.subscribe('far/+', 2)
  const publisher = await connect(t, 1)
  for (const qos of [0, 1, 2] as const) {
    await publisher.publishAcked({ topic: 'far/message', payload: 'x', qos, properties: PROPERTIES })
    const [got] = await subscriber.receive(1)
    const { userProperties, ...rest } = got?.properties ?? {}
    assert.deepEqual({ ...rest, userProperties: { ...userProperties } }, PROPERTIES)
  }
})

test('[MQTT-3.1.3-10] so do those of a will', async (t) => {
  const subscriber = await connect(t, 2)
  await subscriber.subscribe('far/will', 1)
  const will = {
    topic: 'far/will',
    payload: Buffer.from('gone'),
    qos: 1,
    retain: false,
    properties: PROPERTIES,
  } as const
  const client = await connect(t, 1, { will })
  client.drop()
  const [got] = await subscriber.receive(1)
  const { userProperties, ...rest } = got?.properties ?? {}
  assert.deepEqual({ ...rest, userProperties: { ...userProperties } }, PROPERTIES)
})

test('[MQTT-3.3.2-6] and those of a retained message, which says on each node what is left of its expiry interval', async (t) => {
  const publisher = await connect(t, 1)
  const properties = { ...PROPERTIES, messageExpiryInterval: 100 }
  await publisher.publishAcked({ topic: 'far/retained', payload: 'x', qos: 1, retain: true, properties })
  await eventually(async () => {
    const late = await connect(t, 2)
    await late.subscribe('far/retained', 1)
    const [got] = await late.receive(1)
    const { userProperties, messageExpiryInterval: left = 0, ...rest } = got?.properties ?? {}
    assert.deepEqual({ ...rest, userProperties: { ...userProperties } }, PROPERTIES)
    assert.ok(left >= 80 && left <= 98, `${left} s left of 100`)
  })
})

test('[MQTT-3.8.3-3] a session that came from another node still does not get what its own client publishes, where it has No Local', async (t) => {
  const clientId = uniqueClientId()
  const kept = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
  const first = await connect(t, 1, kept)
  await first.subscribe([{ topic: 'moved/no/local', qos: 1, nl: true }])
  await first.subscribe([{ topic: 'moved/local', qos: 1, nl: false }])
  await first.disconnect()
  const moved = await connect(t, 2, kept)
  assert.equal(moved.connack?.sessionPresent, true)
  for (const topic of ['moved/no/local', 'moved/local']) moved.publish({ topic, payload: 'own' })
  const [own] = await moved.receive(1)
  const other = await connect(t, 1)
  for (const topic of ['moved/no/local', 'moved/local']) await other.publishAcked({ topic, payload: 'other' })
  const got = [own, ...(await moved.receive(2))]
  await moved.expectNothing()
  const texts = got.map((packet) => packet && textOf(packet))
  assert.deepEqual(texts, ['moved/local own', 'moved/no/local other', 'moved/local other'])
  await moved.disconnect({ properties: { sessionExpiryInterval: 0 } })
})
