import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { PacketClient, textOf } from '../support/packet-client.js'

/** Of each second, the part in which the node gets no time. */
const STOPPED_MS = 800
const EVERY_MS = 1_000

const broker = useBroker({ mqtt: { overload: { loopDelay: '120ms' } } })
/** Nobody runs in a tenth of this heap. */
const short = useCluster({
  nodes: 1,
  config: { mqtt: { overload: { memory: 10 } } },
  environment: { NODE_OPTIONS: '--max-old-space-size=96' },
})

test('a node whose event loop runs late refuses new clients, serves those it has, and takes new ones again', {
  timeout: 60_000,
}, async (t) => {
  const node = broker().node()
  const { pid } = node
  const overloaded = async (): Promise<number> =>
    (await node.metrics()).value('shoalmq_overloaded', { reason: 'loop_delay' })
  const client = await PacketClient.connect(t, broker().port)
  await client.subscribe('a')
  assert.equal(await overloaded(), 0)

  const stop = (): void => {
    process.kill(pid, 'SIGSTOP')
    setTimeout(() => process.kill(pid, 'SIGCONT'), STOPPED_MS)
  }
  const blocking = setInterval(stop, EVERY_MS)
  t.after(() => clearInterval(blocking))
  await eventually(async () => assert.equal(await overloaded(), 1), { within: 20_000 })

  const late = await PacketClient.open(t, broker().port)
  late.sendConnect()
  const connack = await late.next('connack')
  assert.equal(connack.reasonCode, 0x89)
  assert.match(connack.properties?.reasonString ?? '', /overloaded/)
  assert.deepEqual(await late.closed(), [])
  const old = await PacketClient.open(t, broker().port, 4)
  old.sendConnect()
  assert.equal((await old.next('connack')).returnCode, 3)
  assert.deepEqual(await old.closed(), [])
  client.publish({ topic: 'a', payload: 'still served' })
  assert.deepEqual((await client.settle()).map(textOf), ['a still served'])
  const ready = await fetch(`http://${node.adminAddress}/readyz`)
  assert.equal(ready.status, 503)
  assert.match(await ready.text(), /loop_delay/)

  clearInterval(blocking)
  await eventually(async () => assert.equal(await overloaded(), 0), { within: 20_000 })
  const metrics = await node.metrics()
  assert.equal(metrics.value('shoalmq_overload_refused_total', { reason: 'loop_delay' }), 2)
  assert.equal(metrics.value('shoalmq_connect_refused_total', { reason: 'server_busy' }), 2)
  const again = await PacketClient.connect(t, broker().port)
  await again.disconnect()
  const said = node.logs().filter(({ reason }) => reason === 'loop_delay')
  assert.deepEqual(
    said.slice(0, 2).map(({ level }) => level),
    [40, 30],
    JSON.stringify(said),
  )
})

test('a node whose memory is short refuses new clients as beyond its quota', async (t) => {
  const node = short().node(1)
  await eventually(async () => {
    assert.equal((await node.metrics()).value('shoalmq_overloaded', { reason: 'memory' }), 1)
  })
  const late = await PacketClient.open(t, node.ports.mqtt)
  late.sendConnect()
  const connack = await late.next('connack')
  assert.equal(connack.reasonCode, 0x97)
  assert.match(connack.properties?.reasonString ?? '', /memory/)
  const old = await PacketClient.open(t, node.ports.mqtt, 4)
  old.sendConnect()
  assert.equal((await old.next('connack')).returnCode, 3)
  assert.equal((await node.metrics()).value('shoalmq_overload_refused_total', { reason: 'memory' }), 2)
})
