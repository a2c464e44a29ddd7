/**
 * The Redis of a run with `--store redis`: one server; a master and a replica that three Sentinels watch; or a Redis Cluster
 * of three masters with a replica each.
 */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../support/eventually.js'
import type { ConfigTree, NodeProcess } from '../../support/node-process.js'
import { type RedisPlace, RedisServer } from '../../support/redis.js'
import { RedisCluster } from '../../support/redis-cluster.js'
import { RedisSentinels } from '../../support/redis-sentinels.js'
import type { RedisCuts } from './redis-cuts.js'

/** What Redis has acknowledged is on its disk. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always', '--protected-mode', 'no']
/** From Redis being back to all nodes being content with it: a failover, a reconnection with backoff, a busy machine. */
const CONTENT_WITHIN_MS = 60_000

export type RedisKind = 'single' | 'sentinels' | 'cluster'

/** Several servers, one of which takes the place of another that is gone. */
interface Replicated {
  readonly options: ConfigTree
  /** That has what this node keeps. */
  masterFor(node: NodeProcess): Promise<RedisServer>
  /** Tells the master for this node to let its replica take its place. */
  handOver(node: NodeProcess): Promise<void>
  stop(): Promise<void>
}

export class RedisBacking {
  /** Where there is a network that can be cut between the nodes and Redis. */
  cuts: RedisCuts | undefined

  private constructor(
    private readonly single: RedisServer | undefined,
    private readonly replicated: Replicated | undefined,
  ) {}

  /** @param place where nodes find it */
  static async start(kind: RedisKind, place: RedisPlace): Promise<RedisBacking> {
    if (kind === 'single') return new RedisBacking(await RedisServer.start(DURABLE, place), undefined)
    if (kind === 'sentinels')
      return new RedisBacking(undefined, ofSentinels(await RedisSentinels.start(DURABLE, place)))
    const cluster = await RedisCluster.start({ replicas: 1, parameters: DURABLE, place })
    return new RedisBacking(undefined, ofCluster(cluster))
  }

  /** `store` in the configuration of a node. @param url by which it finds the only server, if not by its own */
  configFor(url = this.single?.url): ConfigTree {
    if (url !== undefined) return { kind: 'redis', redis: { url } }
    // Or what was acknowledged last is lost with the master.
    return { kind: 'redis', redis: { ...this.replicated?.options, waitReplicas: 1 } }
  }

  get hasReplicas(): boolean {
    return this.replicated !== undefined
  }

  async kill(): Promise<void> {
    await this.only.kill()
  }

  /** With the data of the time before. */
  async resume(): Promise<void> {
    await this.only.resume()
  }

  freeze(): void {
    this.only.freeze()
  }

  thaw(): void {
    this.only.thaw()
  }

  /** Kills the master of a node, waits until another one is promoted and for some time more, and brings the first back. */
  async failOver(node: NodeProcess, milliseconds: number): Promise<void> {
    const before = await this.several.masterFor(node)
    await before.kill()
    await this.untilPromoted(node, before)
    await delay(milliseconds)
    await before.resume()
  }

  /** The master of a node and its replica change places. */
  async handOver(node: NodeProcess): Promise<void> {
    const before = await this.several.masterFor(node)
    await this.several.handOver(node)
    await this.untilPromoted(node, before)
  }

  /** Resolves when Redis works for every node: each has committed, since a store fails only when its patience is over. */
  async whenContent(nodes: readonly NodeProcess[]): Promise<void> {
    const before = await Promise.all(nodes.map(commitsOf))
    await eventually(
      async () => {
        for (const [index, node] of nodes.entries()) {
          assert.equal((await node.metrics()).value('shoalmq_store_failing'), 0, `the store of ${node.name}`)
          assert.notEqual(await commitsOf(node), before[index], `${node.name} has committed nothing`)
        }
      },
      { within: CONTENT_WITHIN_MS, every: 100 },
    )
  }

  async stop(): Promise<void> {
    await this.cuts?.stop()
    await this.single?.stop()
    await this.replicated?.stop()
  }

  /** The port of the only server. */
  get port(): number {
    return this.only.port
  }

  private untilPromoted(node: NodeProcess, before: RedisServer): Promise<void> {
    return eventually(
      async () => assert.notEqual(await this.several.masterFor(node), before, 'there is no other master yet'),
      { within: CONTENT_WITHIN_MS, every: 100 },
    )
  }

  private get only(): RedisServer {
    if (this.single === undefined) throw new Error('there is more than one Redis')
    return this.single
  }

  private get several(): Replicated {
    if (this.replicated === undefined) throw new Error('there is only one Redis')
    return this.replicated
  }
}

async function commitsOf(node: NodeProcess): Promise<number> {
  return (await node.metrics()).value('shoalmq_store_commits_total')
}

function ofSentinels(sentinels: RedisSentinels): Replicated {
  return {
    options: sentinels.options,
    masterFor: () => sentinels.current(),
    handOver: () => sentinels.handOver(),
    stop: () => sentinels.stop(),
  }
}

function ofCluster(cluster: RedisCluster): Replicated {
  const masterFor = ({ name }: NodeProcess): Promise<RedisServer> => cluster.masterOf(`shoalmq:{shoalmq/${name}}:state`)
  return {
    options: cluster.options,
    masterFor,
    handOver: async (node) => {
      const replica = await cluster.replicaOf(await masterFor(node))
      assert.equal(await replica.ask('cluster', 'failover'), 'OK')
    },
    stop: () => cluster.stop(),
  }
}
