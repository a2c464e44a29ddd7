/** Brokers for measurements: processes pinned to a core, on ports of the system's choice, gone at the end. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ROOT, ScriptError } from '../support/scripts/run-command.mjs'

const START_TIMEOUT_MS = 20_000
const MOSQUITTO = 'allow_anonymous true\nlog_type none\nmax_queued_messages 0\nmax_inflight_messages 100\n'
const CLI = join(ROOT, 'dist/cli/cli.js')

// However a measurement is ended, its brokers end too: their listeners hear of the exit.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

/** @typedef {{ name: string, port: number, admin: string, pid: number, stop: () => Promise<void>, kill: () => Promise<void> }} Running */

/** @returns {Promise<number>} a port that is free now */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/**
 * Mosquitto without persistence, with unbounded queues and a window of 100: at its defaults it drops most of what it
 * has acknowledged when many publish to one.
 * @param {string} cores as taskset takes them
 * @returns {Promise<Running>}
 */
export async function startMosquitto(cores) {
  const port = await freePort()
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  const configFile = join(directory, 'mosquitto.conf')
  writeFileSync(configFile, `listener ${port} 127.0.0.1\n${MOSQUITTO}`)
  return start({ name: 'mosquitto', port, admin: '', cores, directory, command: ['mosquitto', '-c', configFile] })
}

/**
 * A Redis for a node to keep its store in.
 * @param {string} cores as taskset takes them
 * @param {'no' | 'everysec' | 'always'} fsync of its append-only file; `no` is without one
 * @returns {Promise<Running>}
 */
export async function startRedis(cores, fsync) {
  const port = await freePort()
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  const file = fsync === 'no' ? [] : ['--appendonly', 'yes', '--appendfsync', fsync]
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '', ...file]
  const command = ['redis-server', ...options, '--loglevel', 'warning']
  return start({ name: 'redis-server', port, admin: '', cores, directory, command })
}

/**
 * nats-server as an MQTT broker, which needs its JetStream store.
 * @param {string} cores as taskset takes them
 * @returns {Promise<Running>}
 */
export async function startNats(cores) {
  const [port, ownPort] = [await freePort(), await freePort()]
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  const configFile = join(directory, 'nats.conf')
  writeFileSync(
    configFile,
    `server_name: bench\nlisten: 127.0.0.1:${ownPort}\nlog_file: ${join(directory, 'log')}\n` +
      `jetstream { store_dir: ${directory} }\nmqtt { listen: 127.0.0.1:${port}, max_ack_pending: 100 }\n`,
  )
  return start({ name: 'nats-server', port, admin: '', cores, directory, command: ['nats-server', '-c', configFile] })
}

/**
 * A node of the build in dist/; with `profiles`, a directory, it leaves a CPU profile there when it ends. With `data` it
 * goes on with what a node before it has left there.
 * @param {{ name: string, cores: string, clusterPort: number, seeds?: readonly number[], config?: object,
 *   profiles?: string, data?: string, port?: number, adminPort?: number }} options ports of the system's choice unless given
 * @returns {Promise<Running>}
 */
export async function startNode({ name, cores, clusterPort, seeds = [], config = {}, ...rest }) {
  const { profiles = '', data = '' } = rest
  if (!existsSync(CLI)) throw new ScriptError('There is no build to measure: run `npm run build` first.')
  const port = rest.port ?? (await freePort())
  const admin = `127.0.0.1:${rest.adminPort ?? (await freePort())}`
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  const configFile = join(directory, 'shoalmq.yaml')
  writeFileSync(configFile, JSON.stringify({ log: { level: 'warn' }, ...config }))
  const flags = [
    ...[
      '--config',
      configFile,
      '--name',
      `${name}@127.0.0.1`,
      '--data',
      data === '' ? directory : data,
      '--admin',
      admin,
    ],
    ...['--listen', `mqtt://127.0.0.1:${port}`, '--cluster', `127.0.0.1:${clusterPort}`],
    ...seeds.flatMap((seed) => ['--seeds', `127.0.0.1:${seed}`]),
  ]
  const profiling = profiles === '' ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`]
  return start({
    name,
    port,
    admin,
    cores,
    directory,
    command: [process.execPath, ...profiling, CLI, 'start', ...flags],
  })
}

/**
 * The object of `GET /api/v1/cluster`.
 * @param {Running} node
 */
export async function statusOf(node) {
  return (await fetch(`http://${node.admin}/api/v1/cluster`)).json()
}

/**
 * One metric of a node, as Prometheus reads it; 0 when it has no such series.
 * @param {Running} node
 * @param {string} series with its labels, as printed
 */
export async function metricOf(node, series) {
  const text = await (await fetch(`http://${node.admin}/metrics`)).text()
  const line = text.split('\n').find((one) => one.startsWith(`${series} `))
  return line === undefined ? 0 : Number(line.slice(series.length + 1))
}

/**
 * @param {() => Promise<boolean>} check
 * @param {string} what
 * @param {number} [within] milliseconds
 */
export async function until(check, what, within = START_TIMEOUT_MS) {
  const deadline = performance.now() + within
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`not within ${within} ms: ${what}`)
    await delay(5)
  }
}

async function start({ name, port, admin, cores, directory, command }) {
  // A node takes every SHOALMQ_ variable for its own.
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('SHOALMQ_')))
  // What a broker logs is no part of the tables, which go to standard output.
  const child = spawn('taskset', ['-c', cores, ...command], { cwd: ROOT, env, stdio: ['ignore', 2, 2] })
  const onExit = () => {
    child.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  }
  process.once('exit', onExit)
  await until(async () => (child.exitCode === null ? accepts(port) : true), `${name} listens on ${port}`)
  if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}`)
  const end = async (signal) => {
    process.off('exit', onExit)
    child.kill(signal)
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    rmSync(directory, { recursive: true, force: true })
  }
  return {
    name,
    port,
    admin,
    pid: child.pid ?? 0,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  }
}

async function accepts(port) {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    // Not yet.
    return false
  } finally {
    socket.destroy()
  }
}
