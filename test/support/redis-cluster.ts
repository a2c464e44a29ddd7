import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { ensureDebianPackages } from './debian.js'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'
import { HERE, type RedisPlace, RedisServer } from './redis.js'

const run = promisify(execFile)

const START = { within: 30_000 }
const MASTERS = 3
/** A master that does not answer for so long is taken for gone, in milliseconds. */
const NODE_TIMEOUT_MS = 2_000

export interface RedisClusterOptions {
  /** Of each master; none by default. */
  readonly replicas?: number
  /** Of each server, beside those of every test: `--name value …` */
  readonly parameters?: readonly string[]
  /** Of all of them, where they find each other and clients find them. */
  readonly place?: RedisPlace
}

/** Three masters that share the slots, and their replicas, each of which becomes the master when its own is gone. */
export class RedisCluster {
  private constructor(private readonly servers: readonly RedisServer[]) {}

  static async start({ replicas = 0, parameters = [], place = HERE }: RedisClusterOptions = {}): Promise<RedisCluster> {
    await ensureDebianPackages('redis-server')
    const servers = await Promise.all(
      Array.from({ length: MASTERS * (1 + replicas) }, async () =>
        RedisServer.start(
          [
            ...['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())],
            ...['--cluster-node-timeout', String(NODE_TIMEOUT_MS), '--cluster-announce-ip', place.host],
            // A replica is promoted however long ago it has heard its master: these tests say when that is.
            ...['--cluster-replica-validity-factor', '0', '--repl-diskless-sync-delay', '0'],
            ...parameters,
          ],
          place,
        ),
      ),
    )
    const cluster = new RedisCluster(servers)
    const addresses = servers.map(({ address }) => address)
    const spread = ['--cluster-replicas', String(replicas), '--cluster-yes']
    await run('redis-cli', ['--cluster', 'create', ...addresses, ...spread])
    await eventually(() => cluster.assertWhole(replicas), START)
    return cluster
  }

  /** As `store.redis` takes them. */
  get options(): { cluster: string[] } {
    return { cluster: this.servers.map(({ address }) => address) }
  }

  /** The master of the slot of a key that is there. */
  async masterOf(key: string): Promise<RedisServer> {
    for (const server of this.servers) {
      // Replicas and masters of other slots say where it is.
      if ((await server.ask('exists', key).catch(() => '')) === '1') return server
    }
    throw new Error(`nobody has ${key}`)
  }

  /** The only replica of a master. */
  async replicaOf(master: RedisServer): Promise<RedisServer> {
    const line = `master_port:${master.port}`
    for (const server of this.servers) {
      if (server.isRunning && (await server.ask('info', 'replication')).split(/\r?\n/).includes(line)) return server
    }
    throw new Error(`nobody is a replica of ${master.address}`)
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()))
  }

  private async assertWhole(replicas: number): Promise<void> {
    for (const server of this.servers) {
      if (!(await server.ask('cluster', 'info')).includes('cluster_state:ok')) throw new Error('not whole yet')
      const replication = await server.ask('info', 'replication')
      const isWhole = replication.includes('role:master')
        ? replication.includes(`connected_slaves:${replicas}`)
        : replication.includes('master_link_status:up')
      if (!isWhole) throw new Error(`${server.address} has not got its replicas, or its master, yet`)
    }
  }
}
