/** The Redis of a run with `--store redis`: one server, or a master and a replica that three Sentinels watch. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../support/eventually.js'
import type { ConfigTree, NodeProcess } from '../../support/node-process.js'
import { RedisServer } from '../../support/redis.js'
import { RedisSentinels } from '../../support/redis-sentinels.js'

/** What Redis has acknowledged is on its disk. */
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always', '--protected-mode', 'no']
/** From Redis being back to all nodes being content with it: a failover, a reconnection with backoff, a busy machine. */
const CONTENT_WITHIN_MS = 60_000

export class RedisBacking {
  private constructor(
    private readonly host: string,
    private readonly single: RedisServer | undefined,
    private readonly sentinels: RedisSentinels | undefined,
  ) {}

  /** @param host where nodes find it: an address of this process */
  static async start(host: string, hasSentinels: boolean): Promise<RedisBacking> {
    const parameters = [...DURABLE, '--bind', ...new Set(['127.0.0.1', host])]
    if (!hasSentinels) return new RedisBacking(host, await RedisServer.start(parameters), undefined)
    return new RedisBacking(host, undefined, await RedisSentinels.start(parameters, { host }))
  }

  /** `store` in the configuration of the nodes. */
  get config(): ConfigTree {
    if (this.single !== undefined) return { kind: 'redis', redis: { url: `redis://${this.host}:${this.single.port}` } }
    // Or what was acknowledged last is lost with the master.
    return { kind: 'redis', redis: { ...this.sentinels?.options, waitReplicas: 1 } }
  }

  get hasSentinels(): boolean {
    return this.sentinels !== undefined
  }

  async kill(): Promise<void> {
    await this.only().kill()
  }

  /** With the data of the time before. */
  async resume(): Promise<void> {
    await this.only().resume()
  }

  freeze(): void {
    this.only().freeze()
  }

  thaw(): void {
    this.only().thaw()
  }

  /** Kills the master, waits until another one is promoted and for some time more, and brings the first back. */
  async failOver(milliseconds: number): Promise<void> {
    const { sentinels } = this
    if (sentinels === undefined) throw new Error('there are no Sentinels')
    const before = await sentinels.current()
    await before.kill()
    await eventually(async () => assert.notEqual(await sentinels.current(), before, 'there is no other master yet'), {
      within: CONTENT_WITHIN_MS,
      every: 100,
    })
    await delay(milliseconds)
    await before.resume()
  }

  /** Resolves when every node has all that it keeps in Redis, and Redis works. */
  async whenContent(nodes: readonly NodeProcess[]): Promise<void> {
    await eventually(
      async () => {
        for (const node of nodes) {
          assert.equal((await node.metrics()).value('shoalmq_store_failing'), 0, `the store of ${node.name}`)
        }
      },
      { within: CONTENT_WITHIN_MS, every: 100 },
    )
  }

  async stop(): Promise<void> {
    await this.single?.stop()
    await this.sentinels?.stop()
  }

  private only(): RedisServer {
    if (this.single === undefined) throw new Error('there is more than one Redis')
    return this.single
  }
}
