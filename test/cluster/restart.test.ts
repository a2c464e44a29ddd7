import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { clientFor } from '../support/client.js'
import { clusterFor, type TestCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import { dataDirectoryFor, LoneNode } from '../support/lone-node.js'

function url(cluster: TestCluster, node: number): string {
  return `mqtt://127.0.0.1:${cluster.node(node).ports.mqtt}`
}

/** What a new subscriber on this node is given, as `topic payload`. */
async function retainedAt(t: TestContext, address: string): Promise<string[]> {
  const client = await clientFor(t, address)
  await client.subscribe(['kept/#', 'fence'], 1)
  // The retained messages come before the next live one.
  await client.publish('fence', 'x', { qos: 1 })
  await eventually(() => assert.equal(client.payloads('fence').length, 1))
  client.drop()
  return client.received
    .filter(({ topic }) => topic !== 'fence')
    .map(({ topic, payload }) => `${topic} ${payload}`)
    .sort()
}

test('retained messages that were acknowledged outlive kill -9 of every node of a cluster', async (t) => {
  const cluster = await clusterFor(t, { nodes: 3 })
  const expected: string[] = []
  for (const number of [1, 2, 3]) {
    const client = await clientFor(t, url(cluster, number), { version: number === 2 ? 4 : 5 })
    for (let count = 0; count < 20; count += 1) {
      const topic = `kept/${number}/${count}`
      await client.publish(topic, 'old', { qos: 1, retain: true })
      await client.publish(topic, 'new', { qos: count % 2 === 0 ? 1 : 2, retain: true })
      expected.push(`${topic} new`)
    }
    await client.publish('kept/removed', String(number), { qos: 1, retain: true })
    await client.publish('kept/removed', '', { qos: 1, retain: true })
    const properties = { messageExpiryInterval: 1 }
    if (number !== 2) await client.publish('kept/expired', 'x', { qos: 1, retain: true, properties })
  }
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  await Promise.all(cluster.nodes.map((node) => node.start()))
  await cluster.whenWhole()
  for (const number of [1, 2, 3]) {
    await eventually(async () => assert.deepEqual(await retainedAt(t, url(cluster, number)), expected.sort()), {
      within: 10_000,
    })
  }
})

test('retained messages outlive kill -9 of a node without a cluster, whose directory is its own', async (t) => {
  const data = dataDirectoryFor(t)
  const first = await LoneNode.start(t, data)
  const writer = await clientFor(t, first.url)
  await writer.publish('kept/a', '1', { qos: 1, retain: true })
  await writer.publish('kept/b', '2', { qos: 2, retain: true })
  await writer.publish('kept/b', '', { qos: 1, retain: true })
  const second = await LoneNode.spawn(t, data)
  assert.equal(await second.exited(), 1)
  assert.match(second.text, /"code":"DATA_IN_USE".*is used by another process/)
  await first.kill()
  const third = await LoneNode.start(t, data)
  assert.deepEqual(await retainedAt(t, third.url), ['kept/a 1'])
  await third.kill()
})

test('kill -9 under load, again and again, never takes back what was acknowledged', async (t) => {
  const data = dataDirectoryFor(t)
  const acked = new Map<string, number>()
  let next = 1
  for (let round = 1; round <= 4; round += 1) {
    const node = await LoneNode.start(t, data)
    for (const [topic, value] of acked) {
      const found = (await retainedAt(t, node.url)).find((one) => one.startsWith(`${topic} `))
      const kept = Number(found?.split(' ')[1])
      // What was on its way when the node died may have been kept, too.
      assert.ok(kept >= value, `${topic}: ${value} was acknowledged, ${kept} is there in round ${round}`)
    }
    const publishers = Array.from({ length: 4 }, async (_, number) => {
      const client = await clientFor(t, node.url, { version: number % 2 === 0 ? 5 : 4 })
      while (client.isConnected) {
        // Several under way at a time, so that the end finds some before, in and after a commit.
        const values = Array.from({ length: 10 }, () => next++)
        const topic = `kept/${number}`
        await Promise.allSettled(
          values.map(async (value) => {
            await client.publish(topic, String(value), { qos: 1, retain: true })
            acked.set(topic, Math.max(acked.get(topic) ?? 0, value))
          }),
        )
        // What fails at once must not keep the news of it out.
        await new Promise(setImmediate)
      }
    })
    const enough = round * 500
    await eventually(() => assert.ok(next > enough, `${next} of ${enough}`), { within: 20_000 })
    await node.kill()
    await Promise.all(publishers)
  }
  assert.equal(acked.size, 4)
})

test('on a full disk publishers are refused, what was acknowledged stays, and with room all goes on', async (t) => {
  // A disk of four megabytes, in a mount namespace of its own; its directory is only there.
  const script = 'mount -t tmpfs -o size=4m none /mnt && head -c 2500000 /dev/zero > /mnt/ballast && exec "$@"'
  const wrapper = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh']
  const node = await LoneNode.start(t, '/mnt/data', wrapper)
  const [v5, v4] = [await clientFor(t, node.url), await clientFor(t, node.url, { version: 4 })]
  const payload = 'x'.repeat(20_000)
  const acked: string[] = []
  const refused = await (async () => {
    for (let count = 0; ; count += 1) {
      try {
        await v5.publish(`kept/${count}`, payload, { qos: count % 2 === 0 ? 1 : 2, retain: true })
        acked.push(`kept/${count} ${payload}`)
      } catch (error) {
        return error as Error & { code?: number }
      }
    }
  })()
  assert.ok(acked.length > 10, `${acked.length} messages were kept`)
  assert.equal(refused.code, 0x83, refused.message)
  await assert.rejects(v4.publish('kept/v4', payload, { qos: 1, retain: true }))
  await eventually(() => assert.equal(v4.isConnected, false))
  await v5.publish('not/kept', payload, { qos: 1 })
  await eventually(async () => assert.equal((await node.alarms()).includes('store_failing'), true))
  const metrics = await node.metrics()
  assert.equal(metrics.value('shoalmq_store_failing'), 1)
  rmSync(`/proc/${node.pid}/root/mnt/ballast`)
  await eventually(async () => assert.equal((await node.metrics()).value('shoalmq_store_failing'), 0))
  await v5.publish('kept/late', 'x', { qos: 1, retain: true })
  const kept = await retainedAt(t, node.url)
  assert.deepEqual(
    [...acked, 'kept/late x'].filter((one) => !kept.includes(one)),
    [],
  )
  await node.kill()
})
