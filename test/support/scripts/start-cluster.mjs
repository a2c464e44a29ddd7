#!/usr/bin/env node
/** `npm start`: installs, builds and runs a cluster of three nodes on this machine, until Ctrl-C. */

import { spawn } from 'node:child_process'
import { createWriteStream, mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { build } from './build.mjs'
import { installDependencies, requireNodeVersion } from './dependencies.mjs'
import { ROOT, run, runScript, ScriptError } from './run-command.mjs'

const HOST = '127.0.0.1'
const CLI = join(ROOT, 'dist/cli/cli.js')

/** From the first process to a whole mesh; a loaded machine needs seconds. */
const MESH_TIMEOUT_MS = 60_000
/** A node drains its clients before it goes; then it is ended. */
const STOP_TIMEOUT_MS = 40_000
/** npm passes Ctrl-C on although the terminal has sent it already: a second signal in this time is the same one. */
const SAME_SIGNAL_MS = 1_000
/** pino's number of `warn`: what the terminal shows of a node; its log file has everything. */
const WARN_LEVEL = 40

const COLORS = [36, 35, 33]
const hasColors = process.stdout.isTTY === true && !process.env.NO_COLOR

const NODES = [1, 2, 3].map((number) => ({
  label: `n${number}`,
  name: `n${number}@${HOST}`,
  color: COLORS[number - 1],
  data: join(ROOT, 'data', `n${number}`),
  ports: { MQTT: 1882 + number, WebSocket: 8082 + number, admin: 18082 + number, cluster: 5369 + number },
}))

async function main() {
  requireNodeVersion()
  await requireFreePorts()
  await installDependencies()
  await build()
  const children = []
  const died = []
  const ending = waitForSignal()
  try {
    for (const node of NODES) {
      const child = startNode(node)
      children.push(child)
      died.push(child.ended.then((how) => ({ node, how })))
    }
    const meshed = await Promise.race([whenMeshed(), ...died, ending.asked])
    if (meshed?.node !== undefined) return reportDeath(meshed)
    if (meshed !== 'signal') {
      await printWelcome()
      const end = await Promise.race([...died, ending.asked])
      if (end !== 'signal') return reportDeath(end)
    }
    process.stdout.write('\nStopping …\n')
    return 0
  } finally {
    await Promise.race([Promise.all(children.map((child) => child.stop())), ending.forced])
    for (const child of children) child.kill()
  }
}

/** Before anything starts, so that the answer is one line and not three half-started nodes. */
async function requireFreePorts() {
  const taken = []
  for (const { label, ports } of NODES) {
    for (const [use, port] of Object.entries(ports)) {
      const error = await listenError(port)
      if (error === 'EADDRINUSE') taken.push(`port ${port} (${use} of ${label}) is already in use`)
      else if (error !== undefined) taken.push(`port ${port} (${use} of ${label}) cannot be listened on (${error})`)
    }
  }
  if (taken.length > 0) throw new ScriptError(['Cannot start:', ...taken].join('\n  '))
}

function listenError(port) {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) => resolve(error.code))
    server.listen({ port, host: HOST, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}

function startNode(node) {
  const seeds = NODES.filter((other) => other !== node).map((other) => `${HOST}:${other.ports.cluster}`)
  const flags = [
    ...['--name', node.name, '--data', node.data],
    ...['--listen', `mqtt://${HOST}:${node.ports.MQTT}`, '--listen', `ws://${HOST}:${node.ports.WebSocket}/mqtt`],
    ...['--admin', `${HOST}:${node.ports.admin}`, '--cluster', `${HOST}:${node.ports.cluster}`],
    ...['--seeds', seeds.join(','), '--log-format', 'json'],
  ]
  mkdirSync(node.data, { recursive: true })
  const log = createWriteStream(logFile(node))
  // In a process group of its own: Ctrl-C reaches this script only, and each node gets one SIGTERM from it.
  const child = spawn(process.execPath, [CLI, 'start', ...flags], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let isRunning = true
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      log.write(`${line}\n`)
      const text = terminalText(line)
      if (text !== undefined) console.log(`${paint(node.color, node.label)} ${text}`)
    })
  }
  const kill = () => {
    if (isRunning) child.kill('SIGKILL')
  }
  process.once('exit', kill)
  const ended = new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => {
      isRunning = false
      process.off('exit', kill)
      log.end()
      resolve(signal === null ? `exit code ${code}` : signal)
    })
  })
  const stop = async () => {
    if (!isRunning) return
    child.kill('SIGTERM')
    const hung = setTimeout(kill, STOP_TIMEOUT_MS)
    await ended
    clearTimeout(hung)
  }
  return { ended, stop, kill }
}

/** What the terminal shows of a node's line: warnings and worse, and whatever is no log line. */
function terminalText(line) {
  if (!line.startsWith('{')) return line
  try {
    const { level, msg, err, time: _time, node: _node, room: _room, ...fields } = JSON.parse(line)
    if (level < WARN_LEVEL) return undefined
    const facts = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    return [msg, ...facts, ...(err?.message ? [err.message] : [])].join(' ')
  } catch {
    // Cut off or no JSON after all: better shown than lost.
    return line
  }
}

/** Resolves when every node is ready and sees every other one running. */
async function whenMeshed() {
  const deadline = Date.now() + MESH_TIMEOUT_MS
  for (;;) {
    const views = await Promise.all(NODES.map(seesAll))
    if (views.every((view) => view === undefined)) return undefined
    if (Date.now() > deadline) {
      const views_ = NODES.map(({ label }, index) => `${label}: ${views[index] ?? 'ready'}`)
      throw new ScriptError(`The mesh is not whole after ${MESH_TIMEOUT_MS / 1_000} s (${views_.join('; ')}).`)
    }
    await delay(200)
  }
}

/** Undefined when the node is ready and sees all running, else what is missing. */
async function seesAll(node) {
  try {
    const base = `http://${HOST}:${node.ports.admin}`
    const ready = await fetch(`${base}/readyz`)
    await ready.body?.cancel()
    if (!ready.ok) return 'not ready'
    const { nodes } = await (await fetch(`${base}/api/v1/cluster`)).json()
    const running = nodes.filter((other) => other.state === 'running' && ['self', 'up'].includes(other.link))
    return running.length === NODES.length ? undefined : `sees ${running.length} of ${NODES.length} nodes`
  } catch {
    // Not listening yet, or not any more: the end of a process is watched elsewhere.
    return 'does not answer'
  }
}

async function printWelcome() {
  const each = (read) => NODES.map(read).join('  ')
  console.log('')
  await run(process.execPath, [CLI, 'cluster', 'status', '--admin', `${HOST}:${NODES[0].ports.admin}`])
  console.log(`
Subscribe on one node and publish on another:

  npx shoalmq sub -p ${NODES[0].ports.MQTT} -t 'hello/#' -v
  npx shoalmq pub -p ${NODES[1].ports.MQTT} -t hello/world -m 'hi'

  WebSocket  ${each(({ ports }) => `ws://${HOST}:${ports.WebSocket}/mqtt`)}
  Admin      ${each(({ ports }) => `http://${HOST}:${ports.admin}`)}
  Logs       ${each((node) => relative(process.cwd(), logFile(node)))}

Ctrl-C stops all.`)
}

function reportDeath({ node, how }) {
  console.error(
    `\n${node.name} has ended (${how}); its log is ${relative(process.cwd(), logFile(node))}. Stopping the others …`,
  )
  return 1
}

/** The first signal asks to stop, a later one does not wait. */
function waitForSignal() {
  let ask
  let force
  const asked = new Promise((resolve) => {
    ask = resolve
  })
  const forced = new Promise((resolve) => {
    force = resolve
  })
  let first
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      first ??= Date.now()
      ask('signal')
      if (Date.now() - first > SAME_SIGNAL_MS) force()
    })
  }
  return { asked, forced }
}

function logFile(node) {
  return join(node.data, 'node.log')
}

function paint(color, text) {
  return hasColors ? `\u001b[${color}m${text}\u001b[0m` : text
}

await runScript(main)
