/**
 * Many nodes on this machine: how soon they are a mesh, what the mesh costs while nothing happens, and that it survives
 * the death of some. Runs in a network namespace of its own where it may (as root), so that the bytes are the mesh's.
 */

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import mqtt from 'mqtt'
import { startNode, statusOf, until } from '../brokers.mjs'
import { cpuSeconds, median, residentBytes, sentBytes } from './process-figures.mjs'

const IDLE_MS = 20_000
const LIMIT_MS = 180_000
/** Below the ports that the system gives to the many connections of the mesh itself. */
const CLUSTER_PORT = 20_000
/** Tells this file, run by itself, that it is in its namespace. */
const INSIDE = 'inside'

export async function measureNodes({ nodes, kill }, print) {
  const command = [process.execPath, fileURLToPath(import.meta.url), INSIDE, `${nodes}`, `${kill}`]
  const isolated =
    process.getuid?.() === 0 && spawnSync('unshare', ['--net', 'ip', 'link', 'set', 'lo', 'up']).status === 0
  const [file, ...parameters] = isolated
    ? ['unshare', '--net', '--', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...command]
    : command
  const child = spawn(file, parameters, { stdio: ['ignore', 'pipe', 'inherit'] })
  const onExit = () => child.kill('SIGTERM')
  process.once('exit', onExit)
  const ended = once(child, 'close')
  for await (const line of createInterface({ input: child.stdout })) print(line)
  const [status] = await ended
  process.off('exit', onExit)
  if (status !== 0) throw new Error(`${nodes} nodes: failed`)
}

async function measure(count, kill) {
  // Each node has an exit listener, and its process may outlive one.
  process.setMaxListeners(4 * count)
  const startNumbered = (index) =>
    startNode({
      name: `n${index + 1}`,
      cores: '0-1',
      clusterPort: CLUSTER_PORT + index,
      port: CLUSTER_PORT + 1_000 + index,
      adminPort: CLUSTER_PORT + 2_000 + index,
      seeds: [0, 1].filter((seed) => seed !== index).map((seed) => CLUSTER_PORT + seed),
      config: { log: { level: 'error' } },
    })
  const running = []
  const clients = []
  try {
    console.log(`${count} nodes, two of them everyone's seeds, all on the same cores.\n`)
    console.log('| what | |\n|---|--:|')
    for (let index = 0; index < count - 1; index += 1) running.push(await startNumbered(index))
    await until(async () => isWhole(running, running.length), `${count - 1} nodes are a mesh`, LIMIT_MS)
    const started = performance.now()
    const last = await startNumbered(count - 1)
    const listening = performance.now()
    running.push(last)
    await until(async () => isWhole(running, count), `${count} nodes are a mesh`, LIMIT_MS)
    row(
      `the last of ${count} joins: from its port being open to ${count - 1} links and all routes, on every node`,
      `${(performance.now() - listening).toFixed(0)} ms`,
    )
    row('the same, from the start of its process', `${(performance.now() - started).toFixed(0)} ms`)

    await delay(3_000)
    const [bytes, used] = [sentBytes('lo'), running.map(({ pid }) => cpuSeconds(pid))]
    await delay(IDLE_MS)
    const links = (count * (count - 1)) / 2
    const perSecond = (sentBytes('lo') - bytes) / (IDLE_MS / 1_000)
    const busy = running.map(({ pid }, index) => (cpuSeconds(pid) - used[index]) / (IDLE_MS / 1_000))
    row(
      `idle: bytes a second of all ${links} links, headers included`,
      `${Math.round(perSecond)} (${Math.round(perSecond / links)} per link)`,
    )
    row('idle: processor per node', `${(median(busy) * 100).toFixed(1)} %`)
    row(
      'idle: resident memory per node',
      `${Math.round(median(running.map(({ pid }) => residentBytes(pid))) / 1e6)} MB`,
    )

    const dying = running.splice(Math.floor((count - kill) / 2), kill)
    const witness = await mqtt.connectAsync(`mqtt://127.0.0.1:${running[0].port}`, { protocolVersion: 5 })
    clients.push(witness)
    const received = new Set()
    witness.on('message', (_topic, payload) => received.add(payload.toString()))
    await witness.subscribeAsync('survivors/#', { qos: 1 })
    const killed = performance.now()
    for (const { pid } of dying) process.kill(pid, 'SIGKILL')
    await until(async () => isWhole(running, running.length), 'the survivors have noticed', LIMIT_MS)
    row(
      `${kill} nodes killed at once: until all survivors show them stopped`,
      `${(performance.now() - killed).toFixed(0)} ms`,
    )
    const publishing = performance.now()
    for (const { name, port } of running) {
      const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5 })
      clients.push(client)
      await client.publishAsync(`survivors/${name}`, name, { qos: 1 })
    }
    row(
      'then a client on each survivor connects and publishes, QoS 1',
      `${(performance.now() - publishing).toFixed(0)} ms in all`,
    )
    assert.deepEqual([...received].sort(), running.map(({ name }) => name).sort(), 'one message from each survivor')
    for (const node of dying) await node.stop()
    for (const { name } of dying) running.push(await startNumbered(Number(name.slice(1)) - 1))
    const back = performance.now()
    await until(async () => isWhole(running, count), 'the mesh is whole again', LIMIT_MS)
    row(
      `${kill} started again: from the last port being open to the whole mesh`,
      `${(performance.now() - back).toFixed(0)} ms`,
    )
  } finally {
    for (const client of clients) client.end(true)
    await Promise.all(running.map((node) => node.stop()))
  }
}

/** Every node sees so many running, with links up and their routes. */
async function isWhole(nodes, count) {
  const statuses = await Promise.all(nodes.map((node) => statusOf(node)))
  const own = new Map(statuses.map(({ node, nodes: seen }) => [node, seen.find(({ name }) => name === node)?.routes]))
  return statuses.every(({ node, nodes: seen }) => {
    const up = seen.filter(({ state }) => state === 'running')
    return (
      up.length === count &&
      up.every(({ name, link, routes }) => (name === node || link === 'up') && routes === own.get(name))
    )
  })
}

function row(what, value) {
  console.log(`| ${what} | ${value} |`)
}

if (process.argv[2] === INSIDE) await measure(Number(process.argv[3]), Number(process.argv[4]))
