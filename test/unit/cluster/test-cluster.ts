/** Clusters of several `Cluster` objects in this process, over real gRPC on ports from the system. */

import assert from 'node:assert/strict'
import { type Logger, pino } from 'pino'
import type { SessionMoves } from '../../../src/broker/move-ports.js'
import type { PendingPublish } from '../../../src/broker/ports.js'
import { Cluster, type ClusterModules } from '../../../src/cluster/cluster.js'
import { type ClusterOptions, DEFAULTS } from '../../../src/config/options.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../src/mqtt/wire/packets.js'
import { RouteTable } from '../../../src/router/route-table.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { eventually } from '../../support/eventually.js'

/** A message as it arrived at a node. */
export interface Received {
  topic: string
  payload: string
  qos: QoS
  retain: boolean
  from: string
}

export interface LogLine {
  level: number
  msg: string
  [field: string]: unknown
}

/** Beats are quick, so that tests are. */
const FAST: Partial<ClusterOptions> = {
  listen: '127.0.0.1:0',
  heartbeatInterval: 50,
  suspectAfter: 300,
  downAfter: 600,
  joinTimeout: 5_000,
}

const SUBSCRIPTION = {
  qos: 2,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: undefined,
} as const

/** Of a node without clients. */
const NO_SESSIONS: SessionMoves = {
  hasWaiting: false,
  countWaiting: () => 0,
  isWaiting: () => false,
  waiting: () => [],
  adopt: () => false,
  leave: () => undefined,
  arrive() {
    throw new Error('no session comes here')
  },
  has: () => false,
  deliverTo() {},
  inheritDelayed: () => Promise.resolve(),
  whenKept: (_, done) => done(true),
  readEstate: () => Promise.reject(new Error('there is no store')),
  inherit() {
    throw new Error('no session comes here')
  },
  settle() {},
}

let lastIncarnation = Date.now()

export class TestNode {
  readonly name: string
  readonly incarnation: number
  readonly subscriptions = new SubscriptionTable<object>()
  readonly routes = new RouteTable()
  readonly metrics = new MetricRegistry()
  readonly received: Received[] = []
  readonly log: LogLine[] = []
  readonly cluster: Cluster
  /** Takes the messages instead of `received`. */
  onForwarded: ((message: Message, from: string, pending: PendingPublish | undefined) => void) | undefined
  private readonly session = {}

  constructor(
    name: string,
    options: Partial<ClusterOptions> = {},
    modules: Partial<Pick<ClusterModules, 'protocolVersion' | 'incarnation' | 'seeds' | 'moves'>> = {},
  ) {
    this.name = name.includes('@') ? name : `${name}@127.0.0.1`
    lastIncarnation += 1
    this.incarnation = modules.incarnation ?? lastIncarnation
    this.cluster = new Cluster(
      { ...DEFAULTS.cluster, ...FAST, ...options },
      {
        ...modules,
        node: this.name,
        incarnation: this.incarnation,
        version: '0.0.0-test',
        subscriptions: this.subscriptions,
        routes: this.routes,
        sink: {
          deliverForwarded: (message, from, pending) => this.deliver(message, from, pending),
          deliverInherited() {},
          placeAgain: () => false,
          groupsChanged() {},
          inheritWaiting: () => Promise.resolve(),
        },
        log: this.createLog(),
        metrics: this.metrics,
        clients: { evict: () => false, isLeaving: () => false, publishWillOf() {}, voidWill() {} },
        moves: modules.moves ?? NO_SESSIONS,
        connectionCount: () => 7,
      },
    )
  }

  get address(): string {
    return this.cluster.address
  }

  subscribe(filter: string): void {
    this.subscriptions.subscribe(this.session, filter, SUBSCRIPTION)
  }

  unsubscribe(filter: string): void {
    this.subscriptions.unsubscribe(this.session, filter)
  }

  /** Publishes as the broker does; returns what holds the acknowledgement. */
  publish(topic: string, payload: string, qos: QoS = 0): TestPending {
    const nodes: string[] = []
    this.routes.matchInto(topic, nodes)
    const pending = new TestPending()
    this.cluster.forwarder.forward(
      Message.from(topic, Buffer.from(payload), { qos }),
      nodes,
      qos === 0 ? undefined : pending,
      undefined,
    )
    return pending
  }

  /** Lines of a level with this text. 40 is warn, 50 is error. */
  logged(text: string, level = 0): LogLine[] {
    return this.log.filter((line) => line.level >= level && line.msg.includes(text))
  }

  stateOf(peer: TestNode): string {
    return this.cluster.status().nodes.find(({ name }) => name === peer.name)?.state ?? 'unknown'
  }

  /** The value of a metric, with labels as they are printed: `forwarded_messages_total{peer="a@h"}`. */
  async metric(name: string): Promise<number> {
    const line = (await this.metrics.scrape()).split('\n').find((text) => text.startsWith(`shoalmq_${name} `))
    return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1))
  }

  private deliver(message: Message, from: string, pending: PendingPublish | undefined): void {
    if (this.onForwarded !== undefined) {
      this.onForwarded(message, from, pending)
      return
    }
    const { topic, payload, qos, retain } = message
    this.received.push({ topic, payload: payload.toString(), qos, retain, from })
  }

  private createLog(): Logger {
    return pino(
      { level: 'debug', base: { node: this.name } },
      { write: (line) => this.log.push(JSON.parse(line) as LogLine) },
    )
  }
}

/** Counts holds as the broker does. */
export class TestPending implements PendingPublish {
  holds = 0
  released = 0

  get isSettled(): boolean {
    return this.released === this.holds
  }

  hold(): void {
    this.holds += 1
  }

  release(): void {
    this.released += 1
    assert.equal(this.released > this.holds, false, 'released more often than held')
  }
}

/** How many still wait. (An `assert.ok` that is tried again and again costs a parse of the source each time.) */
export function unsettled(pendings: readonly TestPending[]): number {
  return pendings.filter(({ isSettled }) => !isSettled).length
}

/** Starts nodes that all know the first one. */
export async function startMesh(names: readonly string[], options: Partial<ClusterOptions> = {}): Promise<TestNode[]> {
  const nodes: TestNode[] = []
  for (const name of names) {
    const seeds = nodes[0] === undefined ? [] : [nodes[0].address]
    const node = new TestNode(name, { ...options, seeds })
    await node.cluster.start()
    nodes.push(node)
  }
  await meshed(nodes)
  return nodes
}

/** Waits until every node sees every other running, with a link and its routes. */
export async function meshed(nodes: readonly TestNode[], within = 5_000): Promise<void> {
  await eventually(
    () => {
      for (const node of nodes) {
        const { nodes: seen } = node.cluster.status()
        for (const other of nodes) {
          const status = seen.find(({ name }) => name === other.name)
          assert.equal(status?.state, 'running', `${node.name} sees ${other.name}`)
          if (other === node) continue
          assert.equal(status?.link, 'up')
          assert.equal(status?.incarnation, other.incarnation)
          assert.deepEqual(
            node.routes.digest(other.name),
            other.subscriptions.digest(),
            `${node.name} has routes of ${other.name}`,
          )
        }
      }
    },
    { within },
  )
}

export async function stopAll(nodes: readonly TestNode[]): Promise<void> {
  await Promise.all(nodes.map((node) => node.cluster.stop()))
}
