import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { clientFor } from '../support/client.js'
import { useCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'

/** A change is everywhere within this time. */
const REPLICATED_WITHIN_MS = 2_000

const cluster = useCluster({ nodes: 3 })

function url(node: number): string {
  return `mqtt://127.0.0.1:${cluster().node(node).ports.mqtt}`
}

/** What a new subscriber on this node is given, as `topic payload`. */
async function retainedOn(t: TestContext, node: number, filter: string): Promise<string[]> {
  const client = await clientFor(t, url(node))
  await client.subscribe([filter, 'retained/fence'], 1)
  // The retained messages come before the next live one.
  await client.publish('retained/fence', 'x', { qos: 1 })
  await eventually(() => assert.equal(client.payloads('retained/fence').length, 1))
  client.drop()
  const retained = client.received.filter((one) => one.topic !== 'retained/fence')
  assert.ok(retained.every((one) => one.retain))
  return retained.map((one) => `${one.topic} ${one.payload}`).sort()
}

async function everywhere(
  t: TestContext,
  filter: string,
  expected: readonly string[],
  nodes = [1, 2, 3],
): Promise<void> {
  for (const node of nodes) {
    await eventually(async () => assert.deepEqual(await retainedOn(t, node, filter), expected, `on n${node}`), {
      within: REPLICATED_WITHIN_MS,
    })
  }
}

test('a message retained through any node is found on every node, the last one of each topic', async (t) => {
  for (const node of [1, 2, 3]) {
    const client = await clientFor(t, url(node), { version: node === 2 ? 4 : 5 })
    await client.publish(`kept/${node}`, 'old', { qos: 1, retain: true })
    await client.publish(`kept/${node}`, 'new', { qos: 1, retain: true })
  }
  await everywhere(t, 'kept/+', ['kept/1 new', 'kept/2 new', 'kept/3 new'])
})

test('of two nodes that write one topic the later wins everywhere', async (t) => {
  const [first, second] = [await clientFor(t, url(1)), await clientFor(t, url(2))]
  for (let round = 1; round <= 10; round += 1) {
    await first.publish('kept/contested', `first ${round}`, { qos: 1, retain: true })
    await second.publish('kept/contested', `second ${round}`, { qos: 1, retain: true })
  }
  await everywhere(t, 'kept/contested', ['kept/contested second 10'])
})

test('an empty message removes it everywhere', async (t) => {
  const [writer, remover] = [await clientFor(t, url(1)), await clientFor(t, url(3))]
  await writer.publish('kept/removed', 'x', { qos: 1, retain: true })
  await everywhere(t, 'kept/removed', ['kept/removed x'])
  await remover.publish('kept/removed', '', { qos: 1, retain: true })
  await everywhere(t, 'kept/removed', [])
})

test('a node that was down finds what was retained and removed without it', async (t) => {
  const writer = await clientFor(t, url(1))
  await writer.publish('kept/away/removed', 'x', { qos: 1, retain: true })
  await everywhere(t, 'kept/away/#', ['kept/away/removed x'])
  await cluster().node(3).kill()
  await writer.publish('kept/away/removed', '', { qos: 1, retain: true })
  await writer.publish('kept/away/new', 'y', { qos: 1, retain: true })
  await cluster().node(3).start()
  await cluster().whenWhole()
  await everywhere(t, 'kept/away/#', ['kept/away/new y'])
})
