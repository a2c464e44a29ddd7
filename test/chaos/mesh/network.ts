/**
 * Hosts of a chaos run: network namespaces with an address of their own, and the wire between them, which can be cut,
 * cut one way, slowed and made to lose (`wire.py`). The process that makes it is a host too, and no rule concerns it.
 */

import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const WIRE = fileURLToPath(new URL('wire.py', import.meta.url))
const PYTHON = '/usr/bin/python3'
const TUN = '/dev/net/tun'

/** Frames from one host to another; each in one direction. */
export interface WireRule {
  /** Numbers of hosts, from 1. */
  readonly from: number
  readonly to: number
  readonly cut?: boolean
  /** Milliseconds. */
  readonly delay?: number
  /** Percent. */
  readonly loss?: number
}

/** Why no such network can be made here; undefined when it can. */
export function networkProblem(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  try {
    accessSync(TUN, constants.R_OK | constants.W_OK)
  } catch (error) {
    return `${TUN} cannot be used (${(error as NodeJS.ErrnoException).code}): the kernel needs TUN/TAP`
  }
  const probe = `sqp${process.pid % 100_000}`
  try {
    run('ip', 'netns', 'add', probe)
    run('ip', 'netns', 'del', probe)
  } catch (error) {
    return `network namespaces cannot be made here: ${(error as Error).message.split('\n').at(-2) ?? ''}`
  }
  return undefined
}

export class Network {
  private readonly prefix = `sq${process.pid % 100_000}`
  private readonly subnet = freeSubnet()
  private readonly answers: Interface
  private readonly waiting: (() => void)[] = []
  private readonly namespaces: string[] = []

  private constructor(
    private readonly wire: ChildProcessWithoutNullStreams,
    private readonly size: number,
  ) {
    this.answers = createInterface({ input: wire.stdout })
    this.answers.on('line', () => this.waiting.shift()?.())
    wire.stderr.pipe(process.stderr)
    // The wire says nothing about its input: a write to one that has ended shows as a command that is not answered.
    wire.stdin.on('error', (error) => process.stderr.write(`the wire does not take commands: ${error.message}\n`))
  }

  /** @param size hosts, beside this process */
  static async create(size: number, seed: number): Promise<Network> {
    const prefix = `sq${process.pid % 100_000}`
    const names = Array.from({ length: size + 1 }, (_, index) => `${prefix}h${index}`)
    const network = new Network(spawn(PYTHON, [WIRE, `${seed}`, ...names]), size)
    // However this process ends; the wire ends with its standard input.
    process.once('exit', network.remove)
    await network.answered()
    network.connect()
    return network
  }

  /** Address of a host, by number from 1; 0 is this process. */
  address(host: number): string {
    return `${this.subnet}.${host === 0 ? 254 : host}`
  }

  /** What a command on a host begins with. */
  command(host: number): string[] {
    return ['ip', 'netns', 'exec', this.namespace(host)]
  }

  /** Replaces all rules; takes effect at once. */
  async set(rules: readonly WireRule[]): Promise<void> {
    this.wire.stdin.write(`${JSON.stringify({ rules })}\n`)
    await this.answered()
  }

  /** Removes what `create` has made. Idempotent. */
  async stop(): Promise<void> {
    this.answers.close()
    if (this.wire.exitCode === null) {
      const exited = once(this.wire, 'exit')
      this.wire.stdin.end()
      await exited
    }
    process.off('exit', this.remove)
    this.remove()
  }

  private readonly remove = (): void => {
    for (const namespace of this.namespaces.splice(0)) run('ip', 'netns', 'del', namespace)
  }

  private connect(): void {
    // The device of index 0 stays here; its number on the wire is that of its hardware address, less one.
    for (let host = 0; host <= this.size; host += 1) {
      const device = `${this.prefix}h${host}`
      const inside = host === 0 ? [] : ['-n', this.namespace(host)]
      if (host > 0) {
        run('ip', 'netns', 'add', this.namespace(host))
        this.namespaces.push(this.namespace(host))
        run('ip', 'link', 'set', device, 'netns', this.namespace(host))
        run('ip', ...inside, 'link', 'set', 'lo', 'up')
      }
      run(
        'ip',
        ...inside,
        'link',
        'set',
        device,
        'address',
        `02:53:4d:00:00:${(host + 1).toString(16).padStart(2, '0')}`,
      )
      run('ip', ...inside, 'addr', 'add', `${this.address(host)}/24`, 'dev', device)
      run('ip', ...inside, 'link', 'set', device, 'up')
    }
  }

  private namespace(host: number): string {
    return `${this.prefix}n${host}`
  }

  private answered(): Promise<void> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error('the wire has ended'))
      this.wire.once('exit', onExit)
      this.waiting.push(() => {
        this.wire.off('exit', onExit)
        resolve()
      })
    })
  }
}

/** One that no other run on this machine has: each has an address in the subnet of its hosts. */
function freeSubnet(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((of) => of ?? [])
  for (let step = 0; step < 256; step += 1) {
    const subnet = `10.213.${(process.pid + step) % 256}`
    if (!addresses.some(({ address }) => address.startsWith(`${subnet}.`))) return subnet
  }
  throw new Error('no subnet of 10.213.0.0/16 is free')
}

function run(command: string, ...parameters: string[]): void {
  execFileSync(command, parameters, { stdio: ['ignore', 'ignore', 'pipe'] })
}
