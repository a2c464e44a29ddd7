/**
 * A client that goes from one node to another: how long its CONNECT waits, and how soon it has what was queued for it.
 * Three nodes, on the same cores as the client, so these are upper bounds.
 */

import assert from 'node:assert/strict'
import mqtt from 'mqtt'
import { freePort, startNode, statusOf, until } from '../brokers.mjs'
import { median } from './process-figures.mjs'

const LIMIT_MS = 60_000
const QUEUED = [0, 1_000, 10_000]
const STORM = 1_000
const PAYLOAD = Buffer.alloc(64)
/** Of the nodes; MQTT.js does not look at it. */
const RECEIVE_MAXIMUM = 100
const SESSION = { protocolVersion: 5, clean: false, reconnectPeriod: 0, properties: { sessionExpiryInterval: 3_600 } }

export async function measureTakeover({ runs }, print) {
  const ports = [await freePort(), await freePort(), await freePort()]
  const nodes = []
  for (const [index, clusterPort] of ports.entries()) {
    const seeds = ports.filter((port) => port !== clusterPort)
    const config = { log: { level: 'error' }, mqtt: { queueLength: 20_000 } }
    nodes.push(await startNode({ name: `n${index + 1}`, cores: '0-1', clusterPort, seeds, config }))
  }
  try {
    await until(() => isWhole(nodes), 'three nodes are a mesh', LIMIT_MS)
    print(`Three nodes, sessions kept on disk; medians of ${runs} moves.\n`)
    print('| what | |\n|---|--:|')
    for (const count of QUEUED) {
      const moves = []
      for (let run = 0; run < runs; run += 1) moves.push(await moveAway(nodes, `away-${count}-${run}`, count))
      const [connack, last] = ['connack', 'last'].map((field) => median(moves.map((move) => move[field])).toFixed(1))
      const queued = `its client was away, ${count.toLocaleString('en')} messages in its queue`
      print(
        `| ${queued}: until CONNACK${count === 0 ? '' : ', until the last message'} | ${connack}${count === 0 ? '' : `, ${last}`} ms |`,
      )
    }
    const live = []
    for (let run = 0; run < runs; run += 1) live.push(await moveLive(nodes, `live-${run}`))
    print(`| its client is connected to the other node: until CONNACK | ${median(live).toFixed(1)} ms |`)
    const storm = await moveAll(nodes)
    print(
      `| ${STORM.toLocaleString('en')} clients at once: until the last CONNACK; half of them | ${storm.all.toFixed(0)} ms; ${storm.half.toFixed(0)} ms |`,
    )
  } finally {
    await Promise.all(nodes.map((node) => node.stop()))
  }
}

/** A session made on the first node, with what the second has published for it, is fetched by the third. */
async function moveAway([first, second, third], clientId, count) {
  const before = await connect(first, clientId)
  await before.subscribeAsync(`moves/${clientId}`, { qos: 1 })
  await before.endAsync()
  const publisher = await connect(second, `${clientId}-publisher`)
  for (let sent = 0; sent < count; sent += RECEIVE_MAXIMUM) {
    const wave = Array.from({ length: Math.min(RECEIVE_MAXIMUM, count - sent) }, () =>
      publisher.publishAsync(`moves/${clientId}`, PAYLOAD, { qos: 1 }),
    )
    await Promise.all(wave)
  }
  await publisher.endAsync()
  const started = performance.now()
  let received = 0
  const client = mqtt.connect({ ...SESSION, port: third.port, clientId })
  const last = new Promise((resolve) => {
    if (count === 0) resolve()
    client.on('message', () => {
      received += 1
      if (received === count) resolve()
    })
  })
  const present = await connacked(client)
  const connack = performance.now() - started
  assert.equal(present, true, 'the session has moved')
  await last
  const elapsed = performance.now() - started
  await client.endAsync()
  return { connack, last: elapsed }
}

async function moveLive([first, , third], clientId) {
  const before = await connect(first, clientId)
  await before.subscribeAsync(`moves/${clientId}`, { qos: 1 })
  const started = performance.now()
  const client = mqtt.connect({ ...SESSION, port: third.port, clientId })
  assert.equal(await connacked(client), true, 'the session has moved')
  const connack = performance.now() - started
  before.end(true)
  await client.endAsync()
  return connack
}

async function moveAll([first, , third]) {
  const ids = Array.from({ length: STORM }, (_, index) => `storm-${index}`)
  const before = await Promise.all(ids.map((clientId) => connect(first, clientId)))
  await Promise.all(before.map((client, index) => client.subscribeAsync(`storms/${index}`, { qos: 1 })))
  const started = performance.now()
  const waits = []
  const clients = ids.map((clientId) => mqtt.connect({ ...SESSION, port: third.port, clientId }))
  await Promise.all(
    clients.map(async (client) => {
      assert.equal(await connacked(client), true, 'the session has moved')
      waits.push(performance.now() - started)
    }),
  )
  for (const client of before) client.end(true)
  await Promise.all(clients.map((client) => client.endAsync()))
  return { all: Math.max(...waits), half: median(waits) }
}

function connect({ port }, clientId) {
  return mqtt.connectAsync({ ...SESSION, port, clientId })
}

/** Whether the session is there. */
function connacked(client) {
  return new Promise((resolve, reject) => {
    client.once('connect', ({ sessionPresent }) => resolve(sessionPresent))
    client.once('error', reject)
    setTimeout(() => reject(new Error('no CONNACK')), LIMIT_MS).unref()
  })
}

async function isWhole(nodes) {
  const statuses = await Promise.all(nodes.map((node) => statusOf(node)))
  return statuses.every(({ nodes: seen }) => seen.filter(({ state }) => state === 'running').length === nodes.length)
}
