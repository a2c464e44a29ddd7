import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, type TestContext } from 'node:test'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'
import { type ConfigTree, type NodePorts, NodeProcess } from './node-process.js'

/** From the last node being alive to every node having the routes of every other. */
const MESH_TIMEOUT_MS = 20_000

/**
 * In the configuration of every node. Tests that run beside others on two cores make event loops late, which is no
 * reason to refuse their clients; `test/mqtt/overload.test.ts` has the limit at work.
 */
const CONFIG: ConfigTree = { mqtt: { overload: { loopDelay: '10s' } } }

export interface TestClusterOptions {
  /** How many nodes: n1, n2, … */
  nodes: number
  /** Whom a node is told to join: every other node (default), only the first, or nobody. */
  seeds?: 'all' | 'first' | 'none'
  /** Of each node, in its name and to listen on; 127.0.0.1 by default, and anything in 127/8 works. */
  hosts?: readonly string[]
  /** One cluster port for all nodes, which then need hosts of their own. */
  clusterPort?: number
  /** Where MQTT listeners are bound, if not on the node's host. */
  listenHost?: string
  /** In the configuration file of every node. */
  config?: ConfigTree
  environment?: Record<string, string>
  /** What one node (by number) has besides or instead. */
  perNode?: Record<number, { config?: ConfigTree; environment?: Record<string, string>; seeds?: readonly string[] }>
}

const directories = new Set<string>()

// Also when the tests are interrupted.
process.once('exit', () => {
  for (const directory of directories) removeDirectory(directory)
})

function removeDirectory(directory: string): void {
  directories.delete(directory)
  rmSync(directory, { recursive: true, force: true })
}

/** A cluster of node processes on this machine, as data: made, started, and gone without a trace. */
export class TestCluster {
  private readonly processes: NodeProcess[] = []
  private readonly directory = mkdtempSync(join(tmpdir(), 'shoalmq-test-'))

  private constructor() {
    directories.add(this.directory)
  }

  /** Chooses ports and directories; starts nothing. */
  static async create(options: TestClusterOptions): Promise<TestCluster> {
    const cluster = new TestCluster()
    const places: { host: string; ports: NodePorts }[] = []
    for (let index = 0; index < options.nodes; index += 1) {
      const host = options.hosts?.[index] ?? '127.0.0.1'
      const [mqtt, ws, admin] = [await freePort(host), await freePort(host), await freePort(host)]
      places.push({ host, ports: { mqtt, ws, admin, cluster: options.clusterPort ?? (await freePort(host)) } })
    }
    const addresses = places.map(({ host, ports }) => `${host}:${ports.cluster}`)
    for (const [index, { host, ports }] of places.entries()) {
      const number = index + 1
      const special = options.perNode?.[number]
      const others = addresses.filter((_, other) => other !== index)
      const seeds = { all: others, first: index === 0 ? [] : addresses.slice(0, 1), none: [] }[options.seeds ?? 'all']
      cluster.processes.push(
        new NodeProcess({
          name: `n${number}@${host}`,
          ...(options.listenHost === undefined ? {} : { listenHost: options.listenHost }),
          directory: join(cluster.directory, `n${number}`),
          ports,
          seeds: special?.seeds ?? seeds,
          config: mergeConfig(mergeConfig(CONFIG, options.config ?? {}), special?.config ?? {}),
          environment: { ...options.environment, ...special?.environment },
        }),
      )
    }
    return cluster
  }

  get nodes(): readonly NodeProcess[] {
    return this.processes
  }

  /** By number, from 1, as in its name. */
  node(number: number): NodeProcess {
    const node = this.processes[number - 1]
    if (node === undefined) throw new Error(`no node n${number} in a cluster of ${this.processes.length}`)
    return node
  }

  /** Starts every node at once and waits for the whole mesh. */
  async start(): Promise<void> {
    await Promise.all(this.processes.map((node) => node.start()))
    await this.whenWhole()
  }

  /** Waits until the nodes that run see each other running, with links up and each other's routes in full. */
  async whenWhole(within = MESH_TIMEOUT_MS): Promise<void> {
    const up = this.processes.filter((node) => node.isRunning)
    await eventually(
      async () => {
        const statuses = await Promise.all(up.map((node) => node.status()))
        const own = new Map(
          statuses.map((status) => [status.node, status.nodes.find((one) => one.name === status.node)]),
        )
        for (const status of statuses) {
          assert.equal(status.ready, true, `${status.node} is not ready`)
          for (const { name } of up) {
            const seen = status.nodes.find((one) => one.name === name)
            const between = `${status.node} sees ${name}`
            assert.equal(seen?.state, 'running', between)
            assert.equal(seen.link, name === status.node ? 'self' : 'up', between)
            assert.equal(seen.incarnation, own.get(name)?.incarnation, `${between}: its incarnation`)
            assert.equal(seen.routes, own.get(name)?.routes, `${between}: its routes`)
          }
        }
      },
      { within },
    )
  }

  /** Ends every node and removes their directories; a node that does not stop cleanly is an error. */
  async stop(): Promise<void> {
    const exits = await Promise.all(this.processes.map(async (node) => ({ node: node.name, exit: await node.stop() })))
    removeDirectory(this.directory)
    for (const { node, exit } of exits) {
      if (exit !== undefined) assert.deepEqual(exit, { code: 0, signal: null }, `${node} was stopped by SIGTERM`)
    }
  }

  /** Status and last log lines of each node, for a test that has failed. */
  async report(): Promise<string> {
    const parts = this.processes.map(async (node) => {
      const status = node.isRunning ? await node.status().then(JSON.stringify, String) : 'down'
      return `--- ${node.name}: ${status}\n${node.lastLines()}`
    })
    return (await Promise.all(parts)).join('\n')
  }
}

/**
 * One cluster for all tests of a file: started before the first, reported when one fails, gone after the last.
 * The nodes of `cluster()` are there once the tests run.
 */
export function useCluster(options: TestClusterOptions): () => TestCluster {
  let cluster: TestCluster | undefined
  before(async () => {
    cluster = await TestCluster.create(options)
    try {
      await cluster.start()
    } catch (error) {
      process.stderr.write(`${await cluster.report()}\n`)
      throw error
    }
  })
  afterEach(async (context) => {
    // Node's type says that a hook gets a test or a suite; only a test has passed or failed.
    if ((context as { passed?: boolean }).passed === false) process.stderr.write(`${await cluster?.report()}\n`)
  })
  after(() => cluster?.stop())
  return () => {
    if (cluster === undefined) throw new Error('the cluster is there once the tests run')
    return cluster
  }
}

/** A cluster for one test, started unless told otherwise, stopped at its end. */
export async function clusterFor(
  context: TestContext,
  options: TestClusterOptions & { start?: boolean },
): Promise<TestCluster> {
  const cluster = await TestCluster.create(options)
  context.after(async () => {
    if ((context as { passed?: boolean }).passed === false) process.stderr.write(`${await cluster.report()}\n`)
    await cluster.stop()
  })
  if (options.start !== false) await cluster.start()
  return cluster
}

function mergeConfig(base: ConfigTree, over: ConfigTree): ConfigTree {
  const merged: ConfigTree = { ...base }
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key]
    merged[key] = isTree(below) && isTree(value) ? mergeConfig(below, value) : value
  }
  return merged
}

function isTree(value: ConfigTree[string] | undefined): value is ConfigTree {
  return typeof value === 'object' && !Array.isArray(value)
}
