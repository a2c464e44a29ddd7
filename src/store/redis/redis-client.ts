/**
 * The connection to Redis: to a single one, to the master that Sentinels name, or to a Redis Cluster. It is made again
 * by itself, with longer and longer pauses; what was asked when it broke fails, since only the store knows what is due.
 */

import { Cluster, Redis } from 'ioredis'
import { parseHostPort } from '../../config/addresses.js'
import { parseRedisUrl, type RedisOptions, redisTls } from '../../config/redis-options.js'
import { asError } from '../../util/errors.js'
import { type RedisStoreError, redisError, unreachable } from './errors.js'

/** Between two tries to connect, in milliseconds: doubled from the first to the last, each less up to a half at random. */
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2_000

/** How often a script is sent on to where its slot is said to be. */
const LONGEST_CHASE = 3

/** A connection that is closed gets so long to say goodbye; to a host that stands still it never does. */
const GOODBYE_MS = 100

/** Whom operators see in `CLIENT LIST`. */
const CONNECTION_NAME = 'shoalmq'

/** Errors of the client that say less than what came before them. */
const VAGUE =
  /^(Reached the max retries|Connection is closed|Stream isn't writeable|Cluster isn't ready|Command aborted)/

export interface RedisClientEvents {
  /** The connection is up, for the first time or again. */
  onReady(): void
  /** It has broken. */
  onLost(error: RedisStoreError): void
}

export class RedisClient {
  readonly address: string
  reconnects = 0
  private readonly client: Redis | Cluster
  private lastError: unknown
  private isClosed = false

  private constructor(
    private readonly options: RedisOptions,
    private readonly events: RedisClientEvents,
  ) {
    this.address = addressOf(options)
    this.client = clientFor(options)
    this.client.on('error', (error: unknown) => this.noteError(error))
    // Of a Redis Cluster: what one of its nodes says.
    this.client.on('node error', (error: unknown) => this.noteError(error))
    this.client.on('close', () => {
      if (!this.isClosed) events.onLost(this.away)
    })
  }

  /** Resolves when Redis takes commands. @throws RedisStoreError when it does not in time, or denies access */
  static async connect(options: RedisOptions, events: RedisClientEvents): Promise<RedisClient> {
    const client = new RedisClient(options, events)
    try {
      await client.firstReady()
      return client
    } catch (error) {
      client.close()
      throw error
    }
  }

  get isReady(): boolean {
    return this.client.status === 'ready'
  }

  /** Why there is no connection. */
  get away(): RedisStoreError {
    return this.lastError === undefined
      ? unreachable(this.address, 'the connection was closed')
      : redisError(this.address, this.lastError)
  }

  /** Runs a script; with `replicas` it counts only when so many have what it wrote. @throws RedisStoreError */
  async run(
    script: { readonly text: string; readonly sha: string },
    keys: readonly string[],
    parameters: readonly (string | number | Buffer)[],
    { within, replicas }: { within: number; replicas: number },
  ): Promise<unknown> {
    const rest = [...keys, ...parameters]
    const run = async (isKnown: boolean): Promise<unknown> => {
      const { client } = this
      if (replicas === 0) {
        if (isKnown) return client.evalsha(script.sha, keys.length, ...rest)
        return client.eval(script.text, keys.length, ...rest)
      }
      const pipeline = client.pipeline()
      if (isKnown) pipeline.evalsha(script.sha, keys.length, ...rest)
      else pipeline.eval(script.text, keys.length, ...rest)
      // Redis' own wait ends before ours, so that what it says is heard.
      pipeline.wait(replicas, Math.max(1, Math.floor(within / 2)))
      const results = await pipeline.exec()
      for (const [error] of results ?? []) if (error !== null) throw error
      const reached = Number(results?.[1]?.[1] ?? 0)
      if (reached < replicas) {
        throw new Error(`NOREPLICAS ${reached} of ${replicas} replicas have it (store.redis.waitReplicas)`)
      }
      return results?.[0]?.[1]
    }
    const follow = async (isKnown: boolean, hops: number): Promise<unknown> => {
      try {
        return await run(isKnown)
      } catch (error) {
        const { message } = asError(error)
        if (isKnown && message.startsWith('NOSCRIPT')) return follow(false, hops)
        if (hops === 0 || !message.startsWith('MOVED')) throw error
        await this.learnSlots()
        return follow(isKnown, hops - 1)
      }
    }
    return this.answered(follow(true, LONGEST_CHASE), within)
  }

  /** The client follows a slot by itself, but not for a pipeline with WAIT, which is never told that it has moved. */
  private learnSlots(): Promise<void> {
    const { client } = this
    if (!(client instanceof Cluster)) return Promise.resolve()
    return new Promise((done, fail) => client.refreshSlotsCache((error) => (error ? fail(error) : done())))
  }

  /** Fields and values of a hash from a cursor, and the next cursor; '0' is the first and, as the next, the end. */
  async scan(key: string, cursor: string, count: number, within: number): Promise<[next: string, parts: Buffer[]]> {
    const [next, parts] = await this.answered(this.client.hscanBuffer(key, cursor, 'COUNT', count), within)
    return [String(next), parts as Buffer[]]
  }

  /** What Redis says of itself. @throws RedisStoreError */
  async info(within: number): Promise<ReadonlyMap<string, string>> {
    const text = await this.answered(this.client.info(), within)
    return new Map(text.split(/\r?\n/).map((line) => line.split(':', 2) as [string, string]))
  }

  /** Idempotent. */
  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.client.disconnect()
  }

  /** An answer that does not come is worth no connection: it is broken off, and what is on it may still be done. */
  private async answered<T>(answer: Promise<T>, within: number): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, fail) => {
      timer = setTimeout(() => {
        fail(unreachable(this.address, `it has not answered for ${Math.round(within)} ms`))
        if (this.isReady) this.client.disconnect(true)
      }, within)
    })
    try {
      return await Promise.race([answer, late])
    } catch (error) {
      if (VAGUE.test(asError(error).message)) throw this.away
      throw redisError(this.address, error)
    } finally {
      clearTimeout(timer)
    }
  }

  private firstReady(): Promise<void> {
    const { connectTimeout } = this.options
    return new Promise<void>((done, fail) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer)
        clearInterval(look)
        settle()
      }
      const timer = setTimeout(() => end(() => fail(this.timedOut())), connectTimeout)
      // Whoever is denied access now will be denied it a moment later.
      const look = setInterval(() => {
        if (this.lastError !== undefined && this.away.code === 'REDIS_DENIED') end(() => fail(this.away))
      }, FIRST_PAUSE_MS)
      this.client.once('ready', () => end(() => done()))
    }).then(() => {
      this.client.on('ready', () => {
        this.reconnects += 1
        this.lastError = undefined
        this.events.onReady()
      })
      this.lastError = undefined
    })
  }

  private timedOut(): RedisStoreError {
    return this.lastError === undefined
      ? unreachable(this.address, `it has not answered for ${this.options.connectTimeout} ms`)
      : this.away
  }

  private noteError(error: unknown): void {
    // That the connection has gone says less than why.
    if (this.lastError === undefined || !VAGUE.test(asError(error).message)) this.lastError = error
  }
}

function clientFor(options: RedisOptions): Redis | Cluster {
  const { username, password, db, waitTime, connectTimeout } = options
  const tls = redisTls(options)
  const common = {
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
    connectionName: CONNECTION_NAME,
    connectTimeout: Math.min(connectTimeout, 2 * waitTime),
    disconnectTimeout: GOODBYE_MS,
    // Also of a host that takes connections and says nothing.
    socketTimeout: waitTime,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    protocol: 2,
    // Of a master that has become a replica: the connection is made anew, to whoever is the master then.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  } as const
  if (options.cluster.length > 0) {
    return new Cluster(options.cluster.map(parseHostPort), {
      redisOptions: common,
      clusterRetryStrategy: pauseBefore,
      enableOfflineQueue: false,
      slotsRefreshTimeout: waitTime,
    })
  }
  const single = { ...common, db, enableOfflineQueue: false, retryStrategy: pauseBefore }
  if (options.sentinels.length === 0) {
    const { host, port } = parseRedisUrl(options.url)
    return new Redis({ ...single, host, port })
  }
  const { sentinelUsername, sentinelPassword } = options
  return new Redis({
    ...single,
    sentinels: options.sentinels.map(parseHostPort),
    name: options.name,
    ...(sentinelUsername === '' ? {} : { sentinelUsername }),
    ...(sentinelPassword === '' ? {} : { sentinelPassword }),
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
    sentinelCommandTimeout: waitTime,
    // Without a pause the client would give up for good when no Sentinel answers.
    sentinelRetryStrategy: pauseBefore,
    // Not the client's `failoverDetector`: its connections have no listener for errors, which then go to standard error.
    // A master that is none any more closes its connections, answers READONLY, or does not answer at all.
  })
}

function pauseBefore(attempt: number): number {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(attempt - 1, 16), LONGEST_PAUSE_MS)
  return Math.round(longest * (0.5 + Math.random() / 2))
}

function addressOf({ url, sentinels, name, cluster }: RedisOptions): string {
  if (sentinels.length > 0) return `${name} of the Sentinels ${sentinels.join(', ')}`
  return cluster.length > 0 ? cluster.join(', ') : url
}
