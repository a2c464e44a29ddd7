import assert from 'node:assert/strict'
import { before, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { clientFor, type QoS, type Version } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { ensureDebianPackages } from '../support/debian.js'
import { eventually } from '../support/eventually.js'
import { ForeignClient } from '../support/foreign-client.js'
import { shoalmqCommand } from '../support/node-process.js'

// Debian's own Python: another one on the path would not have Debian's paho.
const PYTHON = '/usr/bin/python3'
const PAHO_CLIENT = fileURLToPath(new URL('./paho_client.py', import.meta.url))
const QOS: readonly QoS[] = [0, 1, 2]
const VERSIONS: readonly Version[] = [4, 5]
const COUNT = 20

before(() => ensureDebianPackages('mosquitto-clients', 'python3-paho-mqtt'), { timeout: 240_000 })
const cluster = useCluster({ nodes: 3 })

interface Delivery {
  topic: string
  payload: string
  qos: number
}

/** A client that we did not write, in the two things that it does. Nodes are numbers. */
interface Kind {
  name: string
  /** Subscribed once this resolves; the deliveries resolve when `count` of them are there. */
  subscribe: (
    context: TestContext,
    order: { node: number; version: Version; filter: string; qos: QoS; count: number },
  ) => Promise<{ deliveries: Promise<Delivery[]> }>
  /** Resolves when all are acknowledged. */
  publish: (
    context: TestContext,
    order: { node: number; version: Version; topic: string; qos: QoS; payloads: readonly string[] },
  ) => Promise<void>
}

function port(node: number): number {
  return cluster().node(node).ports.mqtt
}

const mosquitto: Kind = {
  name: 'mosquitto_pub and mosquitto_sub',
  async subscribe(context, { node, version, filter, qos, count }) {
    const client = ForeignClient.start(context, [
      // Line by line, or it writes when its buffer is full.
      ...['stdbuf', '-oL', 'mosquitto_sub', '-p', `${port(node)}`, '-V', version === 5 ? '5' : '311', '-d'],
      ...['-t', filter, '-q', `${qos}`, '-C', `${count}`, '-F', '=%q %t %p'],
    ])
    await client.says(/Subscribed/)
    const deliveries = client.finished().then((lines) =>
      lines
        .filter((line) => line.startsWith('='))
        .map((line) => {
          const [delivered = '', topic = '', ...payload] = line.slice(1).split(' ')
          return { topic, payload: payload.join(' '), qos: Number(delivered) }
        }),
    )
    return { deliveries }
  },
  async publish(context, { node, version, topic, qos, payloads }) {
    const command = [
      'mosquitto_pub',
      '-p',
      `${port(node)}`,
      '-V',
      version === 5 ? '5' : '311',
      '-t',
      topic,
      '-q',
      `${qos}`,
    ]
    for (const payload of payloads) await ForeignClient.run(context, [...command, '-m', payload])
  },
}

function mqttJs(scheme: 'mqtt' | 'ws'): Kind {
  const url = (node: number): string =>
    scheme === 'mqtt' ? `mqtt://127.0.0.1:${port(node)}` : `ws://127.0.0.1:${cluster().node(node).ports.ws}/mqtt`
  return {
    name: scheme === 'mqtt' ? 'MQTT.js over TCP' : 'MQTT.js over WebSocket',
    async subscribe(context, { node, version, filter, qos, count }) {
      const client = await clientFor(context, url(node), { version })
      await client.subscribe(filter, qos)
      const deliveries = eventually(
        () => {
          assert.ok(client.received.length >= count, `${client.received.length} of ${count} messages`)
          return client.received.map(({ topic, payload, qos: delivered }) => ({ topic, payload, qos: delivered }))
        },
        { within: 15_000 },
      )
      return { deliveries }
    },
    async publish(context, { node, version, topic, qos, payloads }) {
      const client = await clientFor(context, url(node), { version })
      for (const payload of payloads) await client.publish(topic, payload, { qos })
    },
  }
}

function paho(transport: 'tcp' | 'websockets'): Kind {
  const portOf = (node: number): number => (transport === 'tcp' ? port(node) : cluster().node(node).ports.ws)
  const command = (orders: object): string[] => [PYTHON, PAHO_CLIENT, JSON.stringify({ transport, ...orders })]
  return {
    name: transport === 'tcp' ? 'paho' : 'paho over WebSocket',
    async subscribe(context, { node, version, ...order }) {
      const client = ForeignClient.start(context, command({ version, subscribe: { port: portOf(node), ...order } }))
      await client.says(/^ready$/)
      const deliveries = client.finished().then((lines) => {
        const { received } = JSON.parse(lines.at(-1) ?? '') as { received: [string, string, number][] }
        return received.map(([topic, payload, qos]) => ({ topic, payload, qos }))
      })
      return { deliveries }
    },
    async publish(context, { node, version, ...order }) {
      await ForeignClient.run(context, command({ version, publish: { port: portOf(node), ...order } }))
    },
  }
}

const KINDS: readonly Kind[] = [mosquitto, mqttJs('mqtt'), mqttJs('ws'), paho('tcp'), paho('websockets')]

for (const [index, kind] of KINDS.entries()) {
  // Each kind publishes on one node to the next kind on another.
  const other = KINDS[(index + 1) % KINDS.length] ?? kind
  for (const version of VERSIONS) {
    for (const qos of QOS) {
      const [from, to] = [1 + (index % 3), 1 + ((index + 1) % 3)]
      test(`${kind.name} on n${from} to itself and to ${other.name} on n${to}: QoS ${qos}, version ${version}`, async (t) => {
        const topic = `interop/${index}/${version}/${qos}`
        // mosquitto_pub is a process per message.
        const count = kind === mosquitto ? 5 : COUNT
        const payloads = Array.from({ length: count }, (_, number) => `${number + 1} ü`)
        const order = { node: to, version, filter: `interop/${index}/+/${qos}`, qos, count }
        const subscribers = [await kind.subscribe(t, order), await other.subscribe(t, order)]
        await kind.publish(t, { node: from, version, topic, qos, payloads })
        const expected = payloads.map((payload) => ({ topic, payload, qos }))
        for (const { deliveries } of subscribers) assert.deepEqual(await deliveries, expected)
      })
    }
  }
}

test('shoalmq sub and shoalmq pub take the flags that users of mosquitto know, across nodes', async (t) => {
  const subscriber = ForeignClient.start(t, [
    ...shoalmqCommand(),
    ...['sub', '-h', '127.0.0.1', '-p', `${port(1)}`, '-t', 'interop/cli/#', '-q', '1', '-V', '5'],
  ])
  const other = await clientFor(t, `mqtt://127.0.0.1:${port(3)}`)
  await other.subscribe('interop/cli/+', 2)
  // The route of the command is known once one of these gets through.
  await eventually(
    async () => {
      await other.publish('interop/cli/ready', 'yes', { qos: 1 })
      assert.equal(
        subscriber.lines().some((line) => line.endsWith('yes')),
        true,
      )
    },
    { within: 20_000, every: 200 },
  )
  const parameters = [
    '-h',
    '127.0.0.1',
    '-p',
    `${port(2)}`,
    '-t',
    'interop/cli/x',
    '-m',
    'crosses',
    '-q',
    '2',
    '-i',
    'cli',
  ]
  await ForeignClient.run(t, [...shoalmqCommand(), 'pub', ...parameters])
  await subscriber.says(/crosses$/)
  await eventually(() => assert.deepEqual(other.payloads('interop/cli/x'), ['crosses']))
})

test('what mosquitto_pub retains on one node, mosquitto_sub finds on another', async (t) => {
  await ForeignClient.run(t, [
    ...['mosquitto_pub', '-p', `${port(1)}`, '-t', 'interop/retained', '-m', 'kept', '-q', '1', '-r'],
  ])
  await eventually(
    async () => {
      const lines = await ForeignClient.run(t, [
        ...['mosquitto_sub', '-p', `${port(3)}`, '-t', 'interop/+', '-q', '1', '-C', '1', '-W', '2', '-F', '%r %t %p'],
      ])
      assert.deepEqual(lines, ['1 interop/retained kept'])
    },
    { within: 10_000 },
  )
})

test('a will that mosquitto_sub leaves is delivered on another node when it is killed', async (t) => {
  const watcher = await clientFor(t, `mqtt://127.0.0.1:${port(2)}`)
  await watcher.subscribe('interop/will', 1)
  const doomed = ForeignClient.start(t, [
    ...['stdbuf', '-oL', 'mosquitto_sub', '-d', '-p', `${port(1)}`, '-t', 'interop/doomed'],
    ...['--will-topic', 'interop/will', '--will-payload', 'gone', '--will-qos', '1'],
  ])
  await doomed.says(/Subscribed/)
  doomed.kill()
  await eventually(() => assert.deepEqual(watcher.payloads(), ['gone']))
})
