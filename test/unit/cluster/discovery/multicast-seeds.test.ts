import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { afterEach, describe, test } from 'node:test'
import {
  decodeAnnouncement,
  encodeAnnouncement,
  MAXIMUM_ANNOUNCEMENT_BYTES,
} from '../../../../src/cluster/discovery/announcement.js'
import type { Announcement } from '../../../../src/cluster/discovery/seed-source.js'
import type { MulticastOptions } from '../../../../src/config/discovery-options.js'
import { configSchema } from '../../../../src/config/options.js'
import { eventually } from '../../../support/eventually.js'
import { freePort } from '../../../support/free-port.js'
import { ObservedSeeds } from './observed-seeds.js'

const DEFAULTS = configSchema.parse({}).cluster.mcast
const KEY = { cluster: 'shoalmq', secret: 'of the cluster' }
const toStop: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const stop of toStop.splice(0).reverse()) await stop()
})

function nodeOf(number: number): Announcement {
  return { node: `n${number}@127.0.0.1`, incarnation: 5, address: `127.0.0.1:${number}` }
}

async function freePorts(count: number): Promise<string[]> {
  return Promise.all(Array.from({ length: count }, async () => String(await freePort())))
}

function observe(
  number: number,
  ports: readonly string[],
  {
    secret = KEY.secret,
    name = KEY.cluster,
    ...options
  }: Partial<MulticastOptions> & { secret?: string; name?: string } = {},
): ObservedSeeds {
  const mcast = { ...DEFAULTS, ports: [...ports], iface: '127.0.0.1', ttl: 0, interval: 100, ...options }
  const observed = new ObservedSeeds({ discovery: 'mcast', name, secret, mcast }, nodeOf(number))
  toStop.push(() => observed.source.stop())
  return observed.start()
}

/** Anybody on the network. */
async function send(datagrams: readonly Buffer[], port: string): Promise<void> {
  const socket = createSocket('udp4')
  try {
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
    socket.setMulticastInterface('127.0.0.1')
    for (const datagram of datagrams) {
      await new Promise<void>((resolve, reject) =>
        socket.send(datagram, Number(port), DEFAULTS.addr, (error) => (error === null ? resolve() : reject(error))),
      )
    }
  } finally {
    socket.close()
  }
}

describe('an announcement', () => {
  const now = Date.now()

  test('tells the node to whoever knows the secret', () => {
    const datagram = encodeAnnouncement(nodeOf(1), KEY, now)
    assert.deepEqual(decodeAnnouncement(datagram, KEY, now), { ...nodeOf(1), cluster: 'shoalmq', sentAt: now })
    assert.doesNotMatch(datagram.toString('latin1'), /of the cluster/)
  })

  test('is nothing with another secret, of another cluster, of another time, or changed', () => {
    const datagram = encodeAnnouncement(nodeOf(1), KEY, now)
    const verdict = (bytes: Buffer, at = now, key = KEY) => decodeAnnouncement(bytes, key, at)
    assert.equal(verdict(datagram, now, { ...KEY, secret: 'another' }), 'wrong_proof')
    assert.equal(verdict(datagram, now, { ...KEY, cluster: 'another' }), 'other_cluster')
    assert.equal(verdict(datagram, now + 61_000), 'stale')
    assert.equal(verdict(datagram, now - 61_000), 'stale')
    for (let at = 5; at < datagram.length; at += 1) {
      const changed = Buffer.from(datagram)
      changed[at] = (changed[at] ?? 0) ^ 1
      assert.equal(verdict(changed), 'wrong_proof', `byte ${at}`)
    }
    assert.equal(verdict(datagram.subarray(0, 20)), 'malformed')
    assert.equal(verdict(Buffer.concat([datagram, Buffer.alloc(MAXIMUM_ANNOUNCEMENT_BYTES)])), 'malformed')
    assert.equal(verdict(Buffer.from('an mDNS question, or whatever else is told to the group')), 'malformed')
  })

  test('of a node that says nonsense with the right secret is malformed', () => {
    const nonsense = encodeAnnouncement({ ...nodeOf(1), address: 'nowhere' }, KEY, now)
    assert.equal(decodeAnnouncement(nonsense, KEY, now), 'malformed')
  })
})

describe('seeds of a multicast group', () => {
  test('are the other nodes, each found at once, and gone after three rounds of silence', async () => {
    const ports = await freePorts(3)
    const [a, b, c] = [1, 2, 3].map((number) => observe(number, ports, { interval: number === 3 ? 100 : 1_000 }))
    await eventually(() => {
      assert.deepEqual(a?.latest, ['127.0.0.1:2', '127.0.0.1:3'])
      assert.deepEqual(b?.latest, ['127.0.0.1:1', '127.0.0.1:3'])
    })
    assert.deepEqual(a?.warnings(), [])
    await b?.source.stop()
    await c?.source.stop()
    await eventually(() => assert.deepEqual(a?.latest, []), { within: 15_000 })
  })

  test('are nobody of another secret or another cluster, counted each time and logged once', async () => {
    const ports = await freePorts(3)
    const seeds = observe(1, ports)
    observe(2, ports, { secret: 'another' })
    observe(3, ports, { name: 'another' })
    await eventually(() => {
      assert.equal(seeds.metrics.datagrams.wrong_proof.value >= 3, true)
      assert.equal(seeds.metrics.datagrams.other_cluster.value >= 3, true)
    })
    assert.deepEqual(seeds.warnings().sort(), ['other_cluster', 'wrong_proof'])
    assert.deepEqual(seeds.reports, [])
  })

  test('are not taken from what strangers send, nor from an announcement that is sent again', async () => {
    const ports = await freePorts(1)
    const seeds = observe(1, ports)
    await eventually(() => assert.equal(seeds.metrics.rounds.ok.value > 0, true))
    const recorded = encodeAnnouncement(nodeOf(2), KEY, Date.now() - 1_000)
    const newer = encodeAnnouncement({ ...nodeOf(2), address: '127.0.0.1:22' }, KEY, Date.now())
    await send([Buffer.alloc(60_000, 1), Buffer.from('x'), recorded, newer, recorded], ports[0] ?? '')
    await eventually(() => assert.equal(seeds.metrics.datagrams.replayed.value, 1))
    assert.deepEqual(seeds.latest, ['127.0.0.1:22'])
    assert.equal(seeds.metrics.datagrams.malformed.value, 2)
  })

  test('cost no more than a thousand proofs a second under a flood', async () => {
    const ports = await freePorts(1)
    const seeds = observe(1, ports)
    await eventually(() => assert.equal(seeds.metrics.rounds.ok.value > 0, true))
    const junk = encodeAnnouncement(nodeOf(2), { ...KEY, secret: 'another' }, Date.now())
    const { datagrams } = seeds.metrics
    await eventually(
      async () => {
        await send(
          Array.from({ length: 500 }, () => junk),
          ports[0] ?? '',
        )
        assert.ok(datagrams.too_many.value > 0, `${datagrams.wrong_proof.value} looked at`)
      },
      { within: 20_000 },
    )
  })

  test('are found later where no port is free now, which is logged once', async () => {
    const ports = await freePorts(1)
    const first = observe(1, ports)
    await eventually(() => assert.equal(first.metrics.rounds.ok.value > 0, true))
    const second = observe(2, ports)
    await eventually(() => assert.equal(second.metrics.rounds.failed.value >= 2, true), { within: 10_000 })
    assert.deepEqual(second.warnings(), ['MCAST_PORTS_IN_USE'])
    await first.source.stop()
    await eventually(() => assert.equal(second.lines.at(-1)?.msg, 'discovery works again'), { within: 20_000 })
  })
})
