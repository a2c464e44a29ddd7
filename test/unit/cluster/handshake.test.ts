import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { prove } from '../../../src/cluster/handshake.js'
import { MeshChannel } from '../../../src/cluster/transport.js'
import {
  encodeBeat,
  type LinkBody,
  MINIMUM_PROTOCOL_VERSION,
  PROTOCOL_VERSION,
  REFUSAL_CODES,
} from '../../../src/cluster/wire.js'
import type { ClusterOptions } from '../../../src/config/options.js'
import { eventually } from '../../support/eventually.js'
import { meshed, stopAll, TestNode } from './test-cluster.js'

const PARKED = { seeds: [] as string[], joinTimeout: 60_000 }

/** A hello that every node would accept, with a nonce of zeros. */
function hello(node: string): LinkBody {
  const identity = { cluster: 'shoalmq', node, incarnation: 1, address: '127.0.0.1:9', software: 'x' }
  return {
    $case: 'hello',
    value: { protocol: 1, minimumProtocol: 1, identity, nonce: Buffer.alloc(32), sole: false },
  }
}

describe('the handshake', () => {
  let nodes: TestNode[] = []

  afterEach(async () => {
    await stopAll(nodes)
    nodes = []
  })

  async function start(node: TestNode): Promise<TestNode> {
    nodes.push(node)
    await node.cluster.start()
    return node
  }

  const cases: {
    name: string
    accepting: Partial<ClusterOptions>
    dialing: Partial<ClusterOptions>
    protocolVersion?: number
    reason: string
  }[] = [
    { name: 'another secret', accepting: { secret: 'right' }, dialing: { secret: 'wrong' }, reason: 'secret' },
    { name: 'no secret where one is needed', accepting: { secret: 'right' }, dialing: {}, reason: 'secret' },
    { name: 'a secret where there is none', accepting: {}, dialing: { secret: 'wrong' }, reason: 'secret' },
    { name: 'another cluster name', accepting: { name: 'here' }, dialing: { name: 'there' }, reason: 'cluster_name' },
    {
      name: 'a newer protocol',
      accepting: {},
      dialing: {},
      protocolVersion: PROTOCOL_VERSION + 1,
      reason: 'protocol_version',
    },
    {
      name: 'an older protocol than the oldest',
      accepting: {},
      dialing: {},
      protocolVersion: MINIMUM_PROTOCOL_VERSION - 1,
      reason: 'protocol_version',
    },
  ]
  for (const { name, accepting, dialing, protocolVersion, reason } of cases) {
    it(`refuses a node with ${name}, with one log line on both sides`, async () => {
      const a = await start(new TestNode('a', { ...PARKED, ...accepting }))
      const b = await start(
        new TestNode(
          'b',
          { ...PARKED, ...dialing, seeds: [a.address] },
          protocolVersion === undefined ? {} : { protocolVersion },
        ),
      )
      await eventually(() => {
        assert.equal(a.logged('refused to link with a node', 40).length, 1)
        assert.equal(b.logged('a node refused to link with this one', 40).length, 1)
      })
      const [onA] = a.logged('refused to link with a node', 40)
      const [onB] = b.logged('a node refused to link with this one', 40)
      assert.equal(onA?.reason, reason)
      assert.equal(onA?.peer, b.name)
      assert.equal(onB?.reason, reason)
      assert.equal(onB?.address, a.address)
      assert.ok(!JSON.stringify([...a.log, ...b.log]).includes('wrong'), 'no secret is logged')
      assert.equal(a.cluster.status().nodes.length, 1)
      assert.equal(b.cluster.status().nodes.length, 1)
      assert.equal(await a.metric(`handshake_refusals_total{reason="${reason}"}`), 1)
      assert.equal(await b.metric(`handshake_refusals_total{reason="${reason}"}`), 1)
      assert.equal(b.cluster.isReady, false)
    })
  }

  it('links two nodes that know the same secret, without a line of refusal', async () => {
    const a = await start(new TestNode('a', { ...PARKED, secret: 'same' }))
    const b = await start(new TestNode('b', { ...PARKED, secret: 'same', seeds: [a.address] }))
    await meshed([a, b])
    assert.deepEqual(a.logged('refused', 40), [])
  })

  it('learns that a seed is its own address, and does not ask again', async () => {
    // Another word for the address that it advertises: only the handshake can tell.
    const node = new TestNode('a', {}, { seeds: lateSeeds(() => [node.address.replace('127.0.0.1', 'localhost')]) })
    await start(node)
    await eventually(() => assert.equal(node.cluster.isReady, true))
    assert.deepEqual(node.logged('refused', 40), [])
    assert.equal(node.cluster.status().nodes.length, 1)
  })

  it('refuses a second live node with its own name, with a clear line on both sides', async () => {
    const first = await start(new TestNode('a', PARKED))
    const second = await start(new TestNode('a', { ...PARKED, seeds: [first.address] }))
    await eventually(() => {
      assert.equal(first.logged('refused to link with a node', 40)[0]?.reason, 'duplicate_name')
      assert.equal(second.logged('a node refused to link with this one', 40)[0]?.reason, 'duplicate_name')
    })
  })

  it('refuses an older incarnation of a node that it knows', async () => {
    const a = await start(new TestNode('a', PARKED))
    const newer = await start(new TestNode('b', { seeds: [a.address] }, { incarnation: 2_000 }))
    await meshed([a, newer])
    const older = await start(new TestNode('b', { ...PARKED, seeds: [a.address] }, { incarnation: 1_000 }))
    await eventually(() => {
      assert.equal(older.logged('a node refused to link with this one', 40)[0]?.reason, 'stale_incarnation')
      assert.equal(a.logged('refused to link with a node', 40)[0]?.reason, 'stale_incarnation')
    })
    assert.equal(a.stateOf(newer), 'running')
  })

  it('tells a stranger nothing before the proof, and nothing after a wrong one', async () => {
    const a = await start(new TestNode('a', { ...PARKED, secret: 'right' }))
    const stream = new MeshChannel(a.address).openLink()
    stream.send(hello('stranger@127.0.0.1'))
    const challenge = await stream.receive()
    assert.equal(challenge?.$case, 'challenge')
    stream.send({ $case: 'proof', value: { mac: Buffer.alloc(32) } })
    const refused = await stream.receive()
    assert.deepEqual(refused?.$case === 'refused' && refused.value.code, REFUSAL_CODES.SECRET)
    await assert.rejects(stream.receive())
    assert.equal(a.cluster.status().nodes.length, 1)
  })

  it('does not take a proof of another handshake, or of the other role', () => {
    const side = (node: string, nonce: number) => ({
      protocol: 1,
      minimumProtocol: 1,
      identity: { cluster: 'c', node, incarnation: 1, address: 'h:1', software: 'x' },
      nonce: Buffer.alloc(32, nonce),
    })
    const proofs = [
      prove('s', 'dialer', side('a@h', 1), side('b@h', 2)),
      prove('s', 'acceptor', side('a@h', 1), side('b@h', 2)),
      prove('s', 'dialer', side('a@h', 3), side('b@h', 2)),
      prove('s', 'dialer', side('a@h', 1), side('b@h', 3)),
      prove('s', 'dialer', side('c@h', 1), side('b@h', 2)),
      prove('t', 'dialer', side('a@h', 1), side('b@h', 2)),
      prove('s', 'dialer', side('b@h', 2), side('a@h', 1)),
    ]
    assert.equal(new Set(proofs.map((proof) => proof.toString('hex'))).size, proofs.length)
    assert.deepEqual(prove('s', 'dialer', side('a@h', 1), side('b@h', 2)), proofs[0])
  })

  it('ends at a message out of order, at random bytes, and counts those who say nothing', async () => {
    const a = await start(new TestNode('a', PARKED))
    const outOfOrder = new MeshChannel(a.address).openLink()
    outOfOrder.send({
      $case: 'open',
      value: { routeVersion: 0, receivedSequence: 0, keptSequence: 0, firstSequence: 1 },
    })
    await assert.rejects(outOfOrder.receive())

    const port = Number(a.address.split(':')[1])
    const noisy = connect(port, '127.0.0.1')
    noisy.on('error', () => noisy.destroy())
    noisy.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    const silent = connect(port, '127.0.0.1')
    silent.on('error', () => silent.destroy())
    silent.resume()
    noisy.resume()
    await eventually(() => assert.equal(silent.closed, true), { within: 7_000 })
    await eventually(() => assert.equal(noisy.closed, true), { within: 7_000 })
    assert.ok((await a.metric('cluster_strangers_cut_total{reason="too_slow"}')) >= 1)
  })

  it('cuts strangers beyond a number of them', async () => {
    const a = await start(new TestNode('a', PARKED))
    const port = Number(a.address.split(':')[1])
    const sockets = Array.from({ length: 80 }, () => {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => socket.destroy())
      return socket.resume()
    })
    await eventually(async () => assert.equal(await a.metric('cluster_strangers_cut_total{reason="too_many"}'), 16))
    // Those that idle do not keep a node out.
    const b = await start(new TestNode('b', { seeds: [a.address] }))
    await meshed([a, b])
    for (const socket of sockets) socket.destroy()
  })

  it('is what heartbeats need: without the token of a link they are cut and counted, and no peer is harmed', async () => {
    const a = await start(new TestNode('a'))
    const b = await start(new TestNode('b', { seeds: [a.address] }))
    await meshed([a, b])
    const says = { sent: 1, echo: 0, held: 0, connections: 0, routes: 0, uptime: 0, ready: true, draining: false }
    const flow = { framesDue: 0, bytesReceived: 0 }
    for (const [index, token] of [new Uint8Array(0), Buffer.alloc(16, 7)].entries()) {
      const call = new MeshChannel(a.address).openHeartbeat()
      const ended = new Promise<void>((resolve) => call.on('error', () => resolve()))
      call.on('data', () => assert.fail('a stranger is told nothing'))
      call.write(encodeBeat({ ...says, ...flow, token, view: undefined }))
      await ended
      assert.equal(await a.metric('cluster_strangers_cut_total{reason="no_link"}'), index + 1)
    }
    assert.deepEqual([a.stateOf(b), b.stateOf(a)], ['running', 'running'])
    assert.equal(a.logged('link up').length, 1)
  })
})

/** Seeds that are asked for when the node starts, since they name its own port. */
function lateSeeds(addresses: () => string[]) {
  return { start: (onAddresses: (found: readonly string[]) => void) => onAddresses(addresses()), stop: async () => {} }
}
