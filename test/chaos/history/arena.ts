/** Nodes, the network between them, and what they stand on: of namespaces where these can be made, else of proxies. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../support/free-port.js'
import { type ConfigTree, NodeProcess } from '../../support/node-process.js'
import { HERE, type RedisPlace } from '../../support/redis.js'
import type { Wires } from '../mesh/nemesis.js'
import { Network, networkProblem } from '../mesh/network.js'
import { FAULT_KINDS, type FaultKind, FURTHER_FAULT_KINDS } from '../mesh/schedule.js'
import { Clocks } from './clocks.js'
import { SmallDisks } from './disks.js'
import type { StoreKind } from './guarantees.js'
import { HOARDED_BYTES } from './hoard.js'
import { ProxyWires } from './proxy-wires.js'
import type { QueueBounds } from './queue-watch.js'
import { RedisBacking, type RedisKind } from './redis-backing.js'
import { ProxiedCuts, WiredCuts } from './redis-cuts.js'

const PORTS = { mqtt: 1883, ws: 8083, admin: 18083, cluster: 5370 }
const LOOPBACK = '127.0.0.1'
/**
 * What waits for the clients of the load during the longest fault is well below these, save for the one that hoards: its
 * queue reaches its bytes within seconds. Beyond them a queue takes what publishers have in flight that are held back,
 * anew wherever the session goes: up to so many times (decision 4).
 */
const QUEUE_LENGTH = 20_000
const QUEUE_BYTES = 2 * 1024 * 1024
const LENGTH_OVERHANG = 64
const BYTES_OVERHANG = 4
const INFLIGHT_WINDOW = 1_000
/** With less, what the hoarder's node holds back would fill the links, and sessions would move without all marks. */
const LINK_BYTES = 16 * 1024 * 1024
/** What is on the way to a peer may be so many times its bound for some seconds. */
const LINK_BURST = 8
export const QUEUE_BOUNDS: QueueBounds = {
  messages: QUEUE_LENGTH * LENGTH_OVERHANG,
  bytes: QUEUE_BYTES * BYTES_OVERHANG + HOARDED_BYTES,
  inFlight: INFLIGHT_WINDOW,
  linkBytes: LINK_BYTES * LINK_BURST,
}

export interface ArenaOptions {
  readonly nodes: number
  readonly seed: number
  readonly store: StoreKind
  /** With the store in Redis; a single one by default. */
  readonly redis?: RedisKind
  /** Proxies, although namespaces may be there. */
  readonly isBehindProxies?: boolean
  /** Instead of all that can be done here; what they need is made, and nothing else. */
  readonly faults?: readonly FaultKind[]
  /** Of each node process. */
  readonly environment: Record<string, string>
}

export interface Arena {
  readonly nodes: readonly NodeProcess[]
  readonly wires: Wires
  /** With the faults that need them. */
  readonly disks: SmallDisks | undefined
  readonly clocks: Clocks | undefined
  readonly redis: RedisBacking | undefined
  /** What is done to them, in no order. */
  readonly faults: readonly FaultKind[]
  /** What cannot be had here, and why; for people. */
  readonly problems: readonly string[]
  /** Ends the nodes and removes everything. */
  stop(): Promise<void>
}

/** `pair` is a check of views more than of deliveries, and takes its time; proxies have neither directions nor delays. */
const NETWORK_FAULTS: readonly FaultKind[] = [...FAULT_KINDS, ...FURTHER_FAULT_KINDS].filter((kind) => kind !== 'pair')
const PROXY_FAULTS: readonly FaultKind[] = NETWORK_FAULTS.filter((kind) => kind !== 'slow' && kind !== 'one-way')
const NODE_FAULTS: readonly FaultKind[] = ['kill all', 'rolling restart']
const DISK_FAULTS: readonly FaultKind[] = ['disk full', 'kill with a full disk']
const REDIS_FAULTS: readonly FaultKind[] = ['redis killed', 'redis frozen', 'kill while redis is away']
const REPLICA_FAULTS: readonly FaultKind[] = ['redis failover', 'redis handover']

/** Makes everything and starts no node. @throws when a fault is asked for that cannot be done here */
export async function createArena(options: ArenaOptions): Promise<Arena> {
  const arena = new ArenaParts(options)
  try {
    await arena.make()
    return arena
  } catch (error) {
    await arena.stop()
    throw error
  }
}

class ArenaParts implements Arena {
  nodes: NodeProcess[] = []
  disks: SmallDisks | undefined
  clocks: Clocks | undefined
  redis: RedisBacking | undefined
  faults: readonly FaultKind[] = []
  readonly problems: string[] = []
  private network: (Wires & { stop(): Promise<void> }) | undefined
  private readonly directory = mkdtempSync(join(tmpdir(), 'shoalmq-history-'))

  constructor(private readonly options: ArenaOptions) {}

  get wires(): Wires {
    if (this.network === undefined) throw new Error('there is no network')
    return this.network
  }

  async make(): Promise<void> {
    const { isBehindProxies, store } = this.options
    const problem = isBehindProxies === true ? 'proxies are asked for' : networkProblem()
    const possible = [...(problem === undefined ? NETWORK_FAULTS : PROXY_FAULTS), ...NODE_FAULTS]
    if (await this.makeClocks()) possible.push('clock')
    if (problem === undefined) await this.makeInNamespaces()
    else {
      this.problems.push(
        `no network namespaces: ${problem}. The nodes are behind TCP proxies instead: every cut is one of all nodes from each other, no link is slow, and no disk is full.`,
      )
      await this.makeBehindProxies()
    }
    if (problem === undefined && store === 'embedded' && DISK_FAULTS.some((kind) => this.isWanted(kind))) {
      this.disks = new SmallDisks(this.nodes)
      possible.push(...DISK_FAULTS)
    }
    if (this.redis !== undefined) {
      possible.push(...(this.redis.hasReplicas ? REPLICA_FAULTS : REDIS_FAULTS))
      if (this.redis.cuts !== undefined) possible.push('redis cut')
    }
    const { faults = possible } = this.options
    const impossible = faults.filter((kind) => !possible.includes(kind))
    if (impossible.length > 0) {
      throw new Error(
        [
          `${impossible.join(', ')}: not here, with the store ${store}. There are ${possible.join(', ')}`,
          ...this.problems,
        ].join('\n'),
      )
    }
    this.faults = faults
  }

  async stop(): Promise<void> {
    for (const node of this.nodes) if (node.isRunning) await node.kill()
    this.disks?.stop()
    await this.redis?.stop()
    await this.network?.stop()
    rmSync(this.directory, { recursive: true, force: true })
  }

  private isWanted(kind: FaultKind): boolean {
    return this.options.faults?.includes(kind) ?? true
  }

  private async makeClocks(): Promise<boolean> {
    if (!this.isWanted('clock')) return false
    try {
      this.clocks = await Clocks.create(join(this.directory, 'clocks'))
    } catch (error) {
      this.problems.push(`clocks cannot be set: ${error instanceof Error ? error.message : String(error)}`)
    }
    return this.clocks !== undefined
  }

  private async makeInNamespaces(): Promise<void> {
    const { options } = this
    // One more host than nodes: that of Redis.
    const redisHost = options.nodes + 1
    const network = await Network.create(redisHost, options.seed)
    this.network = network
    const redis = await this.startRedis({ host: network.address(redisHost), launcher: network.command(redisHost) })
    if (redis !== undefined) redis.cuts = new WiredCuts(network, redisHost)
    const numbers = Array.from({ length: options.nodes }, (_, index) => index + 1)
    const addressOf = (number: number): string => `${network.address(number)}:${PORTS.cluster}`
    this.nodes = numbers.map(
      (number) =>
        new NodeProcess({
          name: `n${number}@${network.address(number)}`,
          directory: join(this.directory, `n${number}`),
          ports: PORTS,
          seeds: numbers.filter((other) => other !== number).map(addressOf),
          config: configOf(redis?.configFor() ?? { kind: options.store }, {}),
          environment: options.environment,
          launcher: [...network.command(number), ...this.clockOf(number)],
        }),
    )
  }

  private async makeBehindProxies(): Promise<void> {
    const { options } = this
    const redis = await this.startRedis(HERE)
    // What Sentinels and a Redis Cluster tell of each other leads past a proxy.
    const cuts =
      redis === undefined || redis.hasReplicas ? undefined : await ProxiedCuts.start(options.nodes, redis.port)
    if (redis !== undefined) redis.cuts = cuts
    const ports = await Promise.all(
      Array.from({ length: options.nodes }, async () => ({
        mqtt: await freePort(LOOPBACK),
        ws: await freePort(LOOPBACK),
        admin: await freePort(LOOPBACK),
        cluster: await freePort(LOOPBACK),
      })),
    )
    const wires = new ProxyWires(ports.map(({ cluster }) => cluster))
    this.network = wires
    await wires.start()
    this.nodes = ports.map((own, index) => {
      const number = index + 1
      const others = ports.flatMap((_, other) => (other === index ? [] : [wires.address(other + 1)]))
      return new NodeProcess({
        name: `n${number}@${LOOPBACK}`,
        directory: join(this.directory, `n${number}`),
        ports: own,
        seeds: others,
        config: configOf(redis?.configFor(cuts?.url(number)) ?? { kind: options.store }, {
          advertise: wires.address(number),
        }),
        environment: options.environment,
        launcher: this.clockOf(number),
      })
    })
  }

  private clockOf(number: number): string[] {
    return this.clocks?.command(number) ?? []
  }

  private async startRedis(place: RedisPlace): Promise<RedisBacking | undefined> {
    const { store, redis = 'single' } = this.options
    if (store === 'redis') this.redis = await RedisBacking.start(redis, place)
    return this.redis
  }
}

function configOf(store: ConfigTree, cluster: ConfigTree): ConfigTree {
  return {
    allowAnonymous: true,
    cluster: { secret: 'a-secret-of-the-chaos-run', linkBuffer: LINK_BYTES, ...cluster },
    // A machine that is busy with a whole cluster is no reason to refuse clients.
    mqtt: {
      queueLength: QUEUE_LENGTH,
      queueBytes: QUEUE_BYTES,
      inflightWindow: INFLIGHT_WINDOW,
      overload: { loopDelay: '10s' },
    },
    drain: { handover: '8s' },
    store,
  }
}
