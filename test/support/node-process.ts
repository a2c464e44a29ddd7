import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ClusterStatus } from '../../src/cluster/status.js'
import { eventually } from './eventually.js'
import { Scrape } from './prometheus.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BUILT_CLI = join(ROOT, 'dist/cli/cli.js')
const SOURCE_CLI = join(ROOT, 'src/cli/cli.ts')

/** Without a build, tsx compiles the sources at each start, which takes seconds when several nodes start on two cores. */
const START_TIMEOUT_MS = 30_000
/** A drain of a test node has few clients; one that takes longer hangs. */
const STOP_TIMEOUT_MS = 20_000
/** Log lines that a failed test prints of each node. */
const REPORTED_LINES = 25

export interface NodePorts {
  mqtt: number
  ws: number
  admin: number
  cluster: number
}

/** Any part of a configuration file, as `shoalmq start --config` reads it. */
export type ConfigTree = { [key: string]: string | number | boolean | readonly string[] | ConfigTree }

export interface NodeProcessOptions {
  /** `name@host`; the node listens on this host, and its clients and peers reach it there. */
  name: string
  /** Where its MQTT listeners are bound, if not on the host of its name. */
  listenHost?: string
  /** Configuration file, and below it the data directory. */
  directory: string
  ports: NodePorts
  /** host:port of cluster listeners. */
  seeds: readonly string[]
  config: ConfigTree
  environment: Record<string, string>
  /** What the command line begins with, such as the command that enters a network namespace; it must become the node. */
  launcher?: readonly string[]
}

/** A line of pino's JSON log. */
export interface LogLine {
  level: number
  msg: string
  [field: string]: unknown
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

const running = new Set<ChildProcess>()

// Whatever ends this test process, its nodes end too.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1))

/** Whether `dist` is newer than every source. */
export function isBuilt(): boolean {
  return existsSync(BUILT_CLI) && statSync(BUILT_CLI).mtimeMs >= newestSource()
}

/** How `shoalmq` is run here: the build when it is newer than every source, else the sources by tsx. */
export function shoalmqCommand(): string[] {
  return isBuilt() ? [process.execPath, BUILT_CLI] : [process.execPath, '--import', 'tsx', SOURCE_CLI]
}

/** Environment of a node that loads this module before its own: for a fault that nothing outside of a node can cause. */
export function preloading(module: URL): Record<string, string> {
  return { NODE_OPTIONS: `${isBuilt() ? '' : '--import tsx '}--import ${module.href}` }
}

/** Our own environment without what would configure a node, such as the settings of these tests, and with this instead. */
export function shoalmqEnvironment(own: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SHOALMQ_'))
  return { ...Object.fromEntries(inherited), ...own }
}

function newestSource(): number {
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
  return Math.max(...files.filter((file) => file.isFile()).map((file) => statSync(join(file.path, file.name)).mtimeMs))
}

/** A ShoalMQ node as its users run it: a process of its own, started by the command line. */
export class NodeProcess {
  readonly name: string
  readonly host: string
  readonly ports: NodePorts
  private child: ChildProcess | undefined
  private exit: Promise<Exit> | undefined
  private output = ''

  private ownConfig: ConfigTree

  constructor(private readonly options: NodeProcessOptions) {
    this.ownConfig = options.config
    this.name = options.name
    this.host = options.name.slice(options.name.indexOf('@') + 1)
    this.ports = options.ports
  }

  /** In its configuration file from the next start on. */
  configure(config: ConfigTree): void {
    this.ownConfig = config
  }

  get isRunning(): boolean {
    return this.child !== undefined
  }

  get pid(): number {
    if (this.child?.pid === undefined) throw new Error(`${this.name} does not run`)
    return this.child.pid
  }

  /** Spawns the process and returns at once; `exited()` tells how it went. */
  spawn(): void {
    if (this.child !== undefined) throw new Error(`${this.name} runs already`)
    const { options } = this
    mkdirSync(options.directory, { recursive: true })
    const configFile = join(options.directory, 'shoalmq.yaml')
    const listenHost = options.listenHost ?? this.host
    // JSON is YAML.
    writeFileSync(configFile, JSON.stringify(this.ownConfig))
    const flags = [
      ...['--config', configFile, '--name', options.name],
      ...[
        '--listen',
        `mqtt://${listenHost}:${this.ports.mqtt}`,
        '--listen',
        `ws://${listenHost}:${this.ports.ws}/mqtt`,
      ],
      ...['--admin', this.adminAddress, '--cluster', this.clusterAddress],
      ...(options.seeds.length > 0 ? ['--seeds', options.seeds.join(',')] : []),
      ...['--data', this.dataDirectory],
    ]
    const [file = '', ...command] = [...(options.launcher ?? []), ...shoalmqCommand()]
    const child = spawn(file, [...command, 'start', ...flags], {
      cwd: ROOT,
      env: shoalmqEnvironment({ SHOALMQ_LOG__FORMAT: 'json', ...options.environment }),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    running.add(child)
    this.output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    this.exit = new Promise((resolve, reject) => {
      child.once('error', reject)
      // 'close' and not 'exit': the last lines of the log are in.
      child.once('close', (code, signal) => {
        running.delete(child)
        if (this.child === child) this.child = undefined
        resolve({ code, signal })
      })
    })
  }

  /** Spawns the process and waits until it takes MQTT clients; a node that exits instead is an error. */
  async start(): Promise<void> {
    this.spawn()
    await this.untilUp(async () => {
      const socket = connect(this.ports.mqtt, this.host)
      try {
        await once(socket, 'connect')
      } finally {
        socket.destroy()
      }
    })
  }

  /** Waits for `/readyz`: the view of the mesh is complete, or the join timeout has passed. */
  async whenReady(): Promise<void> {
    await this.untilUp(async () => {
      await (await this.get('/readyz')).body?.cancel()
    })
  }

  private async untilUp(check: () => Promise<void>): Promise<void> {
    await eventually(
      async () => {
        if (this.isRunning) await check()
      },
      { within: START_TIMEOUT_MS },
    )
    if (!this.isRunning) throw new Error(`${this.name} exited:\n${this.lastLines()}`)
  }

  /** The end of the process, whoever ends it. */
  exited(): Promise<Exit> {
    if (this.exit === undefined) throw new Error(`${this.name} was never started`)
    return this.exit
  }

  /** SIGTERM, as an orchestrator stops a node; returns its exit. Does nothing to a node that is down. */
  async stop(): Promise<Exit | undefined> {
    if (this.child === undefined) return undefined
    const hung = setTimeout(() => this.child?.kill('SIGKILL'), STOP_TIMEOUT_MS)
    this.child.kill('SIGTERM')
    const exit = await this.exited()
    clearTimeout(hung)
    return exit
  }

  /** Ends the process without giving it a word to say. */
  async kill(signal: 'SIGKILL' = 'SIGKILL'): Promise<void> {
    this.child?.kill(signal)
    await this.exited()
  }

  get dataDirectory(): string {
    return join(this.options.directory, 'data')
  }

  get adminAddress(): string {
    return `${this.host}:${this.ports.admin}`
  }

  get clusterAddress(): string {
    return `${this.host}:${this.ports.cluster}`
  }

  async status(): Promise<ClusterStatus> {
    return (await this.get('/api/v1/cluster').then((response) => response.json())) as ClusterStatus
  }

  /** How this node sees another one, itself included. */
  async statusOf(name: string): Promise<ClusterStatus['nodes'][number]> {
    const status = await this.status()
    const node = status.nodes.find((one) => one.name === name)
    if (node === undefined) throw new Error(`${this.name} does not know ${name}: ${JSON.stringify(status)}`)
    return node
  }

  async metrics(): Promise<Scrape> {
    return new Scrape(await this.get('/metrics').then((response) => response.text()))
  }

  /** Its time of day in milliseconds since the epoch, to the second: what its HTTP answers say. */
  async wallTime(): Promise<number> {
    const response = await this.get('/livez')
    await response.body?.cancel()
    return Date.parse(response.headers.get('date') ?? '')
  }

  /** What the admin API answers under `/api/v1/`. */
  async ask<T>(path: string): Promise<T> {
    return (await this.get(`/api/v1/${path}`).then((response) => response.json())) as T
  }

  private async get(path: string): Promise<Response> {
    const response = await fetch(`http://${this.adminAddress}${path}`)
    if (!response.ok) throw new Error(`${this.name}: ${path} answers ${response.status}`)
    return response
  }

  /** What this life of the node has logged. */
  logs(): LogLine[] {
    const lines = this.output.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'))
    return lines.map((line) => JSON.parse(line) as LogLine)
  }

  /** Everything it wrote, logged or not. */
  text(): string {
    return this.output
  }

  lastLines(): string {
    return this.output.trimEnd().split('\n').slice(-REPORTED_LINES).join('\n')
  }
}
