import { eventually } from './eventually.js'
import { HERE, RedisServer } from './redis.js'

const START = { within: 20_000 }

/** A master, a replica, and three Sentinels that watch them. */
export class RedisSentinels {
  static readonly masterName = 'shoal'

  private constructor(
    readonly master: RedisServer,
    readonly replica: RedisServer,
    private readonly sentinels: readonly RedisServer[],
  ) {}

  /**
   * @param parameters of both servers
   * @param place of all of them, where they find each other and clients find the master
   */
  static async start(parameters: readonly string[] = [], place = HERE): Promise<RedisSentinels> {
    const fast = ['--repl-diskless-sync-delay', '0', ...parameters]
    const master = await RedisServer.start(fast, place)
    const replica = await RedisServer.start([...fast, '--replicaof', place.host, String(master.port)], place)
    await eventually(async () => {
      if (!(await replica.ask('info', 'replication')).includes('master_link_status:up'))
        throw new Error('no replica yet')
    }, START)
    const sentinels = await Promise.all(
      [1, 2, 3].map(() => RedisServer.startSentinel(RedisSentinels.masterName, master, place)),
    )
    const all = new RedisSentinels(master, replica, sentinels)
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
    return { sentinels: this.sentinels.map(({ address }) => address), name: RedisSentinels.masterName }
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

  /** Has the replica take the place of the master. */
  async handOver(): Promise<void> {
    const [sentinel] = this.sentinels
    const answer = await sentinel?.ask('sentinel', 'failover', RedisSentinels.masterName)
    if (answer !== 'OK') throw new Error(`the Sentinels do not fail over: ${answer}`)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.sentinels, this.replica, this.master].map((server) => server.stop()))
  }
}
