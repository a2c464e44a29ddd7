import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import { ensureDebianPackages } from './debian.js'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'

const run = promisify(execFile)

const START = { within: 20_000 }

const servers = new Set<RedisServer>()

// Also when the tests are interrupted.
process.once('exit', () => {
  for (const server of servers) server.discard()
})

/** A real Redis (Debian's redis-server) on a port of its own, which can be killed and started again with its data. */
export class RedisServer {
  private readonly directory = mkdtempSync(join(tmpdir(), 'shoalmq-redis-'))
  private child: ChildProcess | undefined
  private output = ''

  private constructor(
    readonly port: number,
    private readonly parameters: readonly string[],
    private readonly isSentinel: boolean,
  ) {
    servers.add(this)
  }

  /** @param parameters beside those of every test: `--name value …` */
  static async start(parameters: readonly string[] = []): Promise<RedisServer> {
    await ensureDebianPackages('redis-server')
    const server = new RedisServer(await freePort(), parameters, false)
    await server.resume()
    return server
  }

  /** A Sentinel that watches one master with one replica, and fails over on its own. */
  static async startSentinel(name: string, master: RedisServer, host = '127.0.0.1'): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), [], true)
    const lines = [
      `port ${server.port}`,
      `bind ${[...new Set(['127.0.0.1', host])].join(' ')}`,
      'protected-mode no',
      `sentinel monitor ${name} ${host} ${master.port} 1`,
      `sentinel down-after-milliseconds ${name} 700`,
      `sentinel failover-timeout ${name} 1000`,
    ]
    writeFileSync(join(server.directory, 'sentinel.conf'), `${lines.join('\n')}\n`)
    await server.resume()
    return server
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** As `store.redis.url` takes it. */
  get url(): string {
    return `redis://${this.address}`
  }

  get isRunning(): boolean {
    return this.child !== undefined
  }

  /** Starts, with the data of the time before; resolves when it answers. */
  async resume(): Promise<void> {
    const command = this.isSentinel
      ? [join(this.directory, 'sentinel.conf'), '--sentinel']
      : [
          ...['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.directory, '--save', ''],
          ...this.parameters,
        ]
    const child = spawn('redis-server', command, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.child = child
    this.output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    }
    const ready = this.isSentinel ? /\+monitor master/ : /Ready to accept connections/
    await eventually(() => {
      if (child.exitCode !== null) throw new Error(`redis-server ended: ${this.output}`)
      if (!ready.test(this.output)) throw new Error('redis-server does not serve yet')
    }, START)
  }

  /** What a command of `redis-cli` answers. */
  async ask(...command: readonly string[]): Promise<string> {
    const { stdout } = await run('redis-cli', ['-p', String(this.port), '--raw', ...command])
    return stdout.trimEnd()
  }

  /** Ends it as `kill -9` does. */
  async kill(): Promise<void> {
    const { child } = this
    this.child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  /** It stands still: connections stay, nobody answers. */
  freeze(): void {
    this.child?.kill('SIGSTOP')
  }

  thaw(): void {
    this.child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    await this.kill()
    this.discard()
  }

  discard(): void {
    this.child?.kill('SIGKILL')
    servers.delete(this)
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** A Redis that is gone after the test. */
export async function redisFor(context: TestContext, ...parameters: readonly string[]): Promise<RedisServer> {
  const server = await RedisServer.start(parameters)
  context.after(() => server.stop())
  return server
}

/** A master, a replica, and three Sentinels that watch them. */
export class RedisSentinels {
  static readonly masterName = 'shoal'

  private constructor(
    readonly master: RedisServer,
    readonly replica: RedisServer,
    private readonly sentinels: readonly RedisServer[],
    private readonly host: string,
  ) {}

  /**
   * @param parameters of both servers
   * @param host where all of them are told to find each other, and tell clients to find the master; both servers have to
   * be bound to it, and to 127.0.0.1
   */
  static async start(parameters: readonly string[] = [], host = '127.0.0.1'): Promise<RedisSentinels> {
    const fast = ['--repl-diskless-sync-delay', '0', ...parameters]
    const master = await RedisServer.start(fast)
    const replica = await RedisServer.start([...fast, '--replicaof', host, String(master.port)])
    await eventually(async () => {
      if (!(await replica.ask('info', 'replication')).includes('master_link_status:up'))
        throw new Error('no replica yet')
    }, START)
    const sentinels = await Promise.all(
      [1, 2, 3].map(() => RedisServer.startSentinel(RedisSentinels.masterName, master, host)),
    )
    const all = new RedisSentinels(master, replica, sentinels, host)
    await eventually(async () => {
      for (const sentinel of sentinels) {
        const text = await sentinel.ask('sentinel', 'master', RedisSentinels.masterName)
        const fields = text.split('\n')
        const value = (name: string): string | undefined => fields[fields.indexOf(name) + 1]
        if (value('num-slaves') !== '1' || value('num-other-sentinels') !== '2') throw new Error('not seen all yet')
      }
    }, START)
    return all
  }

  /** As `store.redis` takes them. */
  get options(): { sentinels: string[]; name: string } {
    return { sentinels: this.sentinels.map(({ port }) => `${this.host}:${port}`), name: RedisSentinels.masterName }
  }

  /** The server that the Sentinels call the master now. */
  async current(): Promise<RedisServer> {
    const [sentinel] = this.sentinels
    const answer = await sentinel?.ask('sentinel', 'get-master-addr-by-name', RedisSentinels.masterName)
    const port = Number(answer?.split('\n')[1])
    const server = [this.master, this.replica].find((one) => one.port === port)
    if (server === undefined) throw new Error(`the Sentinels say that the master is ${answer}`)
    return server
  }

  async stop(): Promise<void> {
    await Promise.all([...this.sentinels, this.replica, this.master].map((server) => server.stop()))
  }
}

/** Three masters that share the slots. */
export class RedisCluster {
  private constructor(readonly masters: readonly RedisServer[]) {}

  static async start(): Promise<RedisCluster> {
    await ensureDebianPackages('redis-server')
    const masters = await Promise.all(
      [1, 2, 3].map(async () =>
        RedisServer.start([
          ...['--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--cluster-node-timeout', '2000'],
        ]),
      ),
    )
    const cluster = new RedisCluster(masters)
    const addresses = masters.map(({ address }) => address)
    await run('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-replicas', '0', '--cluster-yes'])
    await eventually(async () => {
      for (const master of masters) {
        if (!(await master.ask('cluster', 'info')).includes('cluster_state:ok')) throw new Error('not whole yet')
      }
    }, START)
    return cluster
  }

  /** As `store.redis` takes them. */
  get options(): { cluster: string[] } {
    return { cluster: this.masters.map(({ address }) => address) }
  }

  /** The master of the slot of this key. */
  async masterOf(key: string): Promise<RedisServer> {
    for (const master of this.masters) {
      if (Number(await master.ask('exists', key).catch(() => '0')) === 1) return master
    }
    throw new Error(`nobody has ${key}`)
  }

  async stop(): Promise<void> {
    await Promise.all(this.masters.map((server) => server.stop()))
  }
}
