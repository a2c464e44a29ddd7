/** `$delayed/{seconds}/{topic}`, as a client sees it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { PacketClient, textOf } from '../support/packet-client.js'
import { shoalmq } from '../support/shoalmq-command.js'
import { temporaryFile } from '../support/temporary-file.js'

const ACL = `
rules:
  - deny: publish
    topics: ['secret/#']
  - allow: all
    topics: ['#', '$delayed/#']
`

const broker = useBroker({
  allowAnonymous: true,
  mqtt: { delayedMessages: 5, delayedBytes: 1_000 },
  access: { aclFile: temporaryFile('acl.yaml', ACL) },
})

async function refused(reason: string): Promise<number> {
  return (await broker().node().metrics()).value('shoalmq_publishes_refused_total', { reason })
}

/** A message is at most this early, which is not at all, but for the rounding of clocks. */
const ROUNDING_MS = 5

for (const version of [4, 5] as const) {
  test(`(version ${version}) a message comes to its topic when the delay is over, with its QoS, and not before`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('later/#', 2)
    const publisher = await PacketClient.connect(t, broker().port, version)
    const since = performance.now()
    await publisher.publishAcked({ topic: '$delayed/2/later/two', payload: 'two', qos: 1 })
    await publisher.publishAcked({ topic: '$delayed/1/later/one', payload: 'one', qos: 2 })
    publisher.publish({ topic: '$delayed/0/later/now', payload: 'now' })
    const [now] = await subscriber.receive(1)
    assert.equal(now && textOf(now), 'later/now now')
    await subscriber.expectNothing()
    // The publisher need not wait for it.
    await publisher.disconnect()
    const got = [...(await subscriber.receive(1))]
    assert.ok(performance.now() - since >= 1_000 - ROUNDING_MS, 'not before one second')
    got.push(...(await subscriber.receive(1)))
    assert.ok(performance.now() - since >= 2_000 - ROUNDING_MS, 'not before two seconds')
    assert.deepEqual(
      got.map((packet) => [textOf(packet), packet.qos, packet.retain]),
      [
        ['later/one one', 2, false],
        ['later/two two', 1, false],
      ],
    )
  })
}

test('a delayed message keeps its properties, and its expiry interval goes on while it waits', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('later/#', 1)
  const publisher = await PacketClient.connect(t, broker().port)
  const before = (await broker().node().metrics()).value('shoalmq_messages_dropped_total', { reason: 'expired' })
  const short = { messageExpiryInterval: 1 }
  await publisher.publishAcked({ topic: '$delayed/2/later/expired', payload: 'x', properties: short })
  const properties = { messageExpiryInterval: 100, contentType: 'text/plain', userProperties: { a: '1' } }
  await publisher.publishAcked({ topic: '$delayed/2/later/kept', payload: 'x', properties })
  const [got] = await subscriber.receive(1)
  assert.equal(got?.topic, 'later/kept')
  assert.equal(got?.properties?.contentType, 'text/plain')
  assert.equal(got?.properties?.userProperties?.a, '1')
  const left = got?.properties?.messageExpiryInterval ?? 0
  assert.ok(left <= 98 && left > 60, `${left} s are left of 100`)
  const after = (await broker().node().metrics()).value('shoalmq_messages_dropped_total', { reason: 'expired' })
  assert.equal(after - before, 1)
})

test('RETAIN and a will hold for the time when the delay is over', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe('later/#', 1)
  const will = { topic: '$delayed/1/later/will', payload: Buffer.from('gone'), qos: 1, retain: true } as const
  const client = await PacketClient.connect(t, broker().port, 5, { will })
  client.drop()
  const late = await PacketClient.connect(t, broker().port)
  await late.subscribe('later/will', 1)
  await late.expectNothing()
  const [got] = await subscriber.receive(1)
  assert.equal(got && textOf(got), 'later/will gone')
  const [live] = await late.receive(1)
  assert.equal(live && textOf(live), 'later/will gone')
  const afterwards = await PacketClient.connect(t, broker().port)
  await afterwards.subscribe('later/will', 1)
  const [retained] = await afterwards.receive(1)
  assert.deepEqual([retained && textOf(retained), retained?.retain], ['later/will gone', true])
  const cleaner = await PacketClient.connect(t, broker().port)
  await cleaner.publishAcked({ topic: 'later/will', payload: '', retain: true })
})

test('what is not a delay is refused with 0x90 where the publisher can be told, and never published', async (t) => {
  const subscriber = await PacketClient.connect(t, broker().port)
  await subscriber.subscribe(['#', '$delayed/#'].map((topic) => ({ topic, qos: 1 as const })))
  const publisher = await PacketClient.connect(t, broker().port)
  const before = await refused('delay_invalid')
  const names = ['$delayed/x/t', '$delayed/4294968/t', '$delayed/-1/t', '$delayed/1', '$delayed/1/$delayed/1/t']
  for (const topic of names) assert.equal(await publisher.publishAcked({ topic, payload: 'x', qos: 1 }), 0x90, topic)
  publisher.publish({ topic: '$delayed/x/t', payload: 'x', qos: 1 })
  assert.match((await publisher.next('puback')).properties?.reasonString ?? '', /delayed/)
  publisher.publish({ topic: '$delayed/x/t', payload: 'x' })
  await publisher.settle()
  const old = await PacketClient.connect(t, broker().port, 4)
  old.publish({ topic: '$delayed/x/t', payload: 'x', qos: 1 })
  assert.deepEqual(await old.closed(), [])
  assert.equal((await refused('delay_invalid')) - before, names.length + 3)
  await subscriber.expectNothing()
})

test('the rules of the topic behind the delay hold', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port)
  assert.equal(await publisher.publishAcked({ topic: '$delayed/1/secret/x', payload: 'x', qos: 1 }), 0x87)
  assert.equal(await publisher.publishAcked({ topic: '$delayed/1/$SYS/x', payload: 'x', qos: 1 }), 0x87)
  assert.equal(await publisher.publishAcked({ topic: '$delayed/60/open/x', payload: 'x', qos: 1 }), 0)
  const { stdout } = await delayed('list', '--json')
  const [only] = JSON.parse(stdout).data
  await delayed('cancel', String(only.id))
})

test('beyond the limits they are refused with 0x97 and counted; operators see those that wait, and cancel them', async (t) => {
  const publisher = await PacketClient.connect(t, broker().port, 5, { clientId: 'planner' })
  const before = await refused('delayed_full')
  const send = (seconds: number, payload = 'x') =>
    publisher.publishAcked({ topic: `$delayed/${seconds}/plan/${seconds}`, payload, qos: 1 })
  assert.equal(await send(50, 'x'.repeat(1_000)), 0x97)
  for (const seconds of [54, 53, 52, 51, 50]) assert.equal(await send(seconds), 0)
  assert.equal(await send(49), 0x97)
  assert.equal((await refused('delayed_full')) - before, 2)
  assert.equal((await broker().node().metrics()).value('shoalmq_delayed_messages'), 5)

  const { stdout } = await delayed('list')
  const [titles = '', ...rows] = stdout.trimEnd().split('\n')
  assert.match(titles, /^ID +DUE +TOPIC +QOS +PUBLISHER +BYTES$/)
  assert.deepEqual(
    rows.map((row) => row.trim().split(/ +/).slice(2)),
    [50, 51, 52, 53, 54].map((seconds) => [`plan/${seconds}`, '1', 'planner', '1']),
  )
  const page = JSON.parse((await delayed('list', '--topic', 'plan/+', '--limit', '2', '--json')).stdout)
  assert.deepEqual([page.count, page.data.length], [5, 2])
  const nothing = JSON.parse((await delayed('list', '--publisher', 'nobody', '--json')).stdout)
  assert.equal(nothing.count, 0)
  for (const row of rows) {
    const [id = ''] = row.trim().split(/ +/)
    assert.equal((await delayed('cancel', id)).stdout, `message ${id} is cancelled\n`)
  }
  const again = await delayed('cancel', '1')
  assert.equal(again.code, 1)
  assert.match(again.stderr, /no message with a delay 1 on this node/)
  await eventually(async () => {
    assert.equal((await broker().node().metrics()).value('shoalmq_delayed_messages'), 0)
  })
})

function delayed(...words: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return shoalmq(['delayed', ...words, '--admin', `127.0.0.1:${broker().node().ports.admin}`])
}
