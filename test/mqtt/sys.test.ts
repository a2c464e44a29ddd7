import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { IPublishPacket } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { clusterFor } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { type ConnectFields, PacketClient, uniqueClientId } from '../support/packet-client.js'

const EVENTS = ['connected', 'disconnected', 'subscribed', 'unsubscribed']
const broker = useBroker({ sys: { interval: '1s', clientEvents: EVENTS } })

function connect(t: TestContext, fields: ConnectFields = {}, version: 4 | 5 = 5): Promise<PacketClient> {
  return PacketClient.connect(t, broker().port, version, fields)
}

/** What a subscription brings at once, by topic. */
async function snapshot(client: PacketClient, filter: string): Promise<Record<string, string>> {
  await client.subscribe(filter)
  const packets = (await client.settle()) as IPublishPacket[]
  await client.unsubscribe(filter)
  const retained = packets.filter(({ cmd, retain }) => cmd === 'publish' && retain)
  return Object.fromEntries(retained.map(({ topic, payload }) => [topic, payload.toString()]))
}

test('a new subscriber finds the values of Mosquitto’s names at once, as retained messages', async (t) => {
  const node = broker().node()
  const before = await node.metrics()
  const client = await connect(t)
  await client.subscribe(['a', 'b', '$share/g/c'].map((topic) => ({ topic })))
  await client.publishAcked({ topic: 'sys/kept', payload: 'x', retain: true })
  const values = await snapshot(client, '$SYS/broker/#')
  assert.match(values['$SYS/broker/version'] ?? '', /^shoalmq version \d+\.\d+\.\d+/)
  assert.match(values['$SYS/broker/uptime'] ?? '', /^\d+ seconds$/)
  const numbers = Object.fromEntries(Object.entries(values).map(([topic, value]) => [topic.slice(12), Number(value)]))
  assert.equal(numbers['clients/connected'], 1)
  assert.equal(numbers['clients/total'], 1)
  assert.equal(numbers['clients/maximum'], 1)
  assert.equal(numbers['clients/disconnected'], 0)
  assert.equal(numbers['subscriptions/count'], 4)
  assert.equal(numbers['shared_subscriptions/count'], 1)
  assert.equal(numbers['retained messages/count'], 1)
  assert.equal(numbers['messages/stored'], 1)
  assert.equal(numbers['publish/messages/received'], 1)
  assert.ok((numbers['bytes/received'] ?? 0) > before.value('shoalmq_received_bytes_total'))
  for (const topic of ['messages/received', 'messages/sent', 'bytes/sent', 'heap/current']) {
    assert.ok((numbers[topic] ?? 0) > 0, topic)
  }
  for (const load of ['messages/received', 'publish/sent', 'bytes/received', 'connections', 'sockets']) {
    for (const minutes of [1, 5, 15])
      assert.match(values[`$SYS/broker/load/${load}/${minutes}min`] ?? '', /^\d+\.\d\d$/)
  }
  assert.deepEqual(await snapshot(client, '$SYS/broker/clients/connected'), { '$SYS/broker/clients/connected': '1' })
  assert.deepEqual(await snapshot(client, '$SYS/+/uptime/x'), {})
  await client.publishAcked({ topic: 'sys/kept', payload: '', retain: true })
})

test('EMQX’s names tell of each node below its name', async (t) => {
  const { name } = broker().node()
  const client = await connect(t, {}, 4)
  await client.subscribe([{ topic: 'a' }, { topic: '$share/g/c' }])
  const values = await snapshot(client, '$SYS/brokers/#')
  const own = `$SYS/brokers/${name}`
  assert.deepEqual(await snapshot(client, '$SYS/brokers'), { '$SYS/brokers': name })
  assert.match(values[`${own}/version`] ?? '', /^\d+\.\d+\.\d+/)
  assert.match(values[`${own}/sysdescr`] ?? '', /ShoalMQ/)
  assert.match(values[`${own}/uptime`] ?? '', /^\d+$/)
  assert.ok(Math.abs(Date.parse(values[`${own}/datetime`] ?? '') - Date.now()) < 10_000)
  assert.equal(values[`${own}/stats/connections/count`], '1')
  assert.ok(Number(values[`${own}/stats/connections/max`]) >= 1)
  assert.equal(values[`${own}/stats/subscriptions/count`], '3')
  assert.equal(values[`${own}/stats/subscriptions/shared/count`], '1')
  for (const metric of [
    'bytes/received',
    'packets/received',
    'packets/suback/sent',
    'client/connect',
    'client/connack',
  ]) {
    assert.ok(Number(values[`${own}/metrics/${metric}`]) > 0, metric)
  }
  for (const metric of ['messages/dropped', 'messages/acked', 'delivery/dropped/queue_full', 'packets/connack/error']) {
    assert.match(values[`${own}/metrics/${metric}`] ?? '', /^\d+$/, metric)
  }
})

test('what is subscribed to comes again and again, and is not marked as retained then', async (t) => {
  const client = await connect(t)
  const { name } = broker().node()
  await client.subscribe([
    { topic: '$SYS/broker/uptime', rh: 2, rap: true },
    { topic: `$SYS/brokers/${name}/uptime`, rh: 2 },
  ])
  const packets = await client.nextMany('publish', 4)
  assert.deepEqual(
    packets.map(({ topic }) => topic),
    [0, 1].flatMap(() => [`$SYS/brokers/${name}/uptime`, '$SYS/broker/uptime']),
  )
  assert.ok(packets.every(({ retain }) => !retain))
  const [first, , second] = packets.map(({ payload }) => Number(payload.toString()))
  assert.ok((second ?? 0) > (first ?? 0))
})

test('[MQTT-4.7.2-1] a filter that begins with a wildcard sees nothing of it', async (t) => {
  const client = await connect(t)
  await client.subscribe([{ topic: '#' }, { topic: '+/broker/#' }])
  const other = await connect(t)
  await other.subscribe('$SYS/broker/uptime')
  await other.nextMany('publish', 2)
  await client.expectNothing()
})

test('nobody may publish there', async (t) => {
  const watcher = await connect(t)
  await watcher.subscribe('$SYS/broker/version')
  await watcher.next('publish')
  const client = await connect(t)
  for (const topic of ['$SYS/broker/version', '$SYS/broker/mine', '$SYS/x']) {
    assert.equal(await client.publishAcked({ topic, payload: 'mine' }), 0x87, topic)
  }
  const old = await connect(t, {}, 4)
  old.publish({ topic: '$SYS/broker/version', payload: 'mine' })
  const packets = await watcher.settle()
  assert.ok(packets.every((packet) => packet.cmd === 'publish' && packet.payload.toString() !== 'mine'))
})

test('events of clients are told as JSON', async (t) => {
  const { name } = broker().node()
  const watcher = await connect(t)
  const prefix = `$SYS/brokers/${name}/clients`
  await watcher.subscribe(`${prefix}/#`)
  await watcher.settle()
  const next = async (topic: string) => {
    const packet = await watcher.next('publish')
    assert.equal(packet.topic, topic)
    return JSON.parse(packet.payload.toString()) as Record<string, unknown>
  }
  const clientId = uniqueClientId()
  const client = await connect(t, {
    clientId,
    username: 'fritz',
    password: Buffer.from('x'),
    keepalive: 60,
    properties: { sessionExpiryInterval: 30 },
  })
  const { ts, connected_at, ...connected } = await next(`${prefix}/${clientId}/connected`)
  assert.ok(Math.abs(Number(ts) - Date.now()) < 10_000 && Math.abs(Number(connected_at) - Date.now()) < 10_000)
  assert.deepEqual(connected, {
    clientid: clientId,
    username: 'fritz',
    protocol: 'mqtt',
    ipaddress: '127.0.0.1',
    sockport: broker().port,
    proto_name: 'MQTT',
    proto_ver: 5,
    connack: 0,
    clean_start: true,
    keepalive: 60,
    expiry_interval: 30,
  })
  await client.subscribe([{ topic: 'a/+', qos: 1, rap: true }], 0, {
    subscriptionIdentifier: 5,
  })
  const subscribed = await next(`${prefix}/${clientId}/subscribed`)
  assert.equal(subscribed.topic, 'a/+')
  assert.deepEqual(subscribed.subopts, {
    qos: 1,
    nl: 0,
    rap: 1,
    rh: 0,
    is_new: true,
    sub_props: { 'Subscription-Identifier': 5 },
  })
  await client.unsubscribe('a/+', 'b')
  assert.equal((await next(`${prefix}/${clientId}/unsubscribed`)).topic, 'a/+')
  await client.disconnect()
  const disconnected = await next(`${prefix}/${clientId}/disconnected`)
  assert.deepEqual(
    [disconnected.clientid, disconnected.reason, disconnected.sockport],
    [clientId, 'normal', broker().port],
  )

  const other = await connect(t, { clientId: 'with/+/and#' }, 4)
  assert.equal((await next(`${prefix}/with/%2B/and%23/connected`)).clientid, 'with/+/and#')
  other.drop()
  assert.equal((await next(`${prefix}/with/%2B/and%23/disconnected`)).reason, 'tcp_closed')
})

test('each family can be switched off', async (t) => {
  const config = { sys: { interval: '1s', brokers: false, broker: false, clientEvents: [] } }
  const cluster = await clusterFor(t, { nodes: 1, config })
  const client = await PacketClient.connect(t, cluster.node(1).ports.mqtt)
  assert.deepEqual(await client.subscribe('$SYS/#'), [0])
  const other = await PacketClient.connect(t, cluster.node(1).ports.mqtt)
  await other.disconnect()
  await eventually(async () => {
    const scrape = await cluster.node(1).metrics()
    assert.equal(scrape.value('shoalmq_connections'), 1)
  })
  await client.expectNothing()
})
