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

/** Where a server runs. */
export interface RedisPlace {
  /** Where others find it. It listens on 127.0.0.1, too. */
  readonly host: string
  /** What its command line begins with, such as the command that enters a network namespace; it must become the server. */
  readonly launcher?: readonly string[]
}

export const HERE: RedisPlace = { host: '127.0.0.1' }

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
    private readonly place: RedisPlace,
    private readonly parameters: readonly string[],
    private readonly isSentinel: boolean,
  ) {
    servers.add(this)
  }

  /** @param parameters beside those of every test: `--name value …` */
  static async start(parameters: readonly string[] = [], place = HERE): Promise<RedisServer> {
    await ensureDebianPackages('redis-server')
    const server = new RedisServer(await freePort(), place, parameters, false)
    await server.resume()
    return server
  }

  /** A Sentinel that watches one master with one replica, and fails over on its own. */
  static async startSentinel(name: string, master: RedisServer, place = HERE): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), place, [], true)
    const lines = [
      `port ${server.port}`,
      `bind ${server.binding.join(' ')}`,
      'protected-mode no',
      `sentinel monitor ${name} ${place.host} ${master.port} 1`,
      `sentinel down-after-milliseconds ${name} 700`,
      `sentinel failover-timeout ${name} 1000`,
    ]
    writeFileSync(join(server.directory, 'sentinel.conf'), `${lines.join('\n')}\n`)
    await server.resume()
    return server
  }

  get address(): string {
    return `${this.place.host}:${this.port}`
  }

  /** As `store.redis.url` takes it. */
  get url(): string {
    return `redis://${this.address}`
  }

  get isRunning(): boolean {
    return this.child !== undefined
  }

  private get binding(): string[] {
    return [...new Set([HERE.host, this.place.host])]
  }

  /** Starts, with the data of the time before; resolves when it answers. */
  async resume(): Promise<void> {
    const command = this.isSentinel
      ? [join(this.directory, 'sentinel.conf'), '--sentinel']
      : [
          ...['--port', String(this.port), '--bind', ...this.binding, '--dir', this.directory, '--save', ''],
          ...this.parameters,
        ]
    const [file = '', ...rest] = [...(this.place.launcher ?? []), 'redis-server', ...command]
    const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
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
    const { stdout } = await run('redis-cli', ['-h', this.place.host, '-p', String(this.port), '--raw', ...command])
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
