/**
 * Seeds in etcd 3, by its HTTP/JSON gateway: a key for each node under one prefix, with a lease that the node keeps
 * alive. A node that crashed is gone when its lease ends, one that stops takes its key away.
 */

import { z } from 'zod'
import type { EtcdOptions } from '../../config/discovery-options.js'
import { asError, NodeError } from '../../util/errors.js'
import { isAddress } from '../handshake.js'
import { requestJson } from './json-request.js'
import { SeedPoll } from './seed-poll.js'
import type { SeedModules, SeedSource } from './seed-source.js'

export interface EtcdSeedOptions extends EtcdOptions {
  /** Name of the cluster. */
  cluster: string
}

/** How long `stop` tries to take the key back; the lease ends it otherwise. */
const REVOKE_TIMEOUT_MS = 2_000

/** The keys of a cluster; more are no nodes. */
const MAXIMUM_KEYS = 1_000

const tokenAnswer = z.object({ token: z.string() })
const leaseAnswer = z.object({ ID: z.string() })
/** The gateway leaves out a TTL of 0: the lease has ended. */
const keepAliveAnswer = z.object({ result: z.object({ TTL: z.string().default('0') }) })
const rangeAnswer = z.object({ kvs: z.array(z.object({ key: z.string(), value: z.string() })).default([]) })
const nodeValue = z.object({ address: z.string().refine(isAddress) })

export class EtcdSeeds implements SeedSource {
  private readonly poll: SeedPoll
  private readonly prefix: string
  /** The endpoint that answered last; the next one after a failure. */
  private endpoint = 0
  private token: string | undefined
  private lease: { id: string; renewAt: number; value: string } | undefined
  private readonly warned = new Set<string>()
  private stopping: Promise<void> | undefined

  constructor(
    private readonly options: EtcdSeedOptions,
    private readonly modules: SeedModules,
  ) {
    this.prefix = `${options.prefix}/${options.cluster}/nodes/`
    const { metrics, log } = modules
    // The lease is renewed by the rounds.
    const interval = Math.min(options.interval, options.nodeTtl / 3)
    const ask = (signal: AbortSignal) => this.ask(signal)
    this.poll = new SeedPoll(interval, { discovery: 'etcd', prefix: this.prefix }, { ask, metrics, log })
  }

  start(onAddresses: (addresses: readonly string[]) => void): void {
    this.stopping = undefined
    this.poll.start(onAddresses)
  }

  stop(): Promise<void> {
    this.poll.stop()
    this.stopping ??= this.revoke()
    return this.stopping
  }

  /** One round, at the first endpoint that answers it. */
  private async ask(signal: AbortSignal): Promise<readonly string[]> {
    const { server } = this.options
    let failure: unknown
    for (let attempt = 0; attempt < server.length; attempt += 1) {
      try {
        await this.register(signal)
        return await this.list(signal)
      } catch (error) {
        if (signal.aborted) throw error
        failure = error
        // A token and what is known of a lease may be what the endpoint does not like.
        this.token = undefined
        if (this.lease !== undefined) this.lease.renewAt = 0
        this.endpoint = (this.endpoint + 1) % server.length
      }
    }
    throw asError(failure)
  }

  /** Sees to it that the key of this node is there, with a lease that lives. */
  private async register(signal: AbortSignal): Promise<void> {
    const { node, address, incarnation } = this.modules.self()
    const value = JSON.stringify({ address, incarnation })
    const now = performance.now()
    if (this.lease !== undefined && this.lease.value === value) {
      if (now < this.lease.renewAt) return
      if (await this.keepAlive(this.lease.id, signal)) {
        this.lease.renewAt = now + this.options.nodeTtl / 3
        return
      }
    }
    const ttl = String(Math.ceil(this.options.nodeTtl / 1_000))
    const { ID: id } = leaseAnswer.parse(await this.call('/v3/lease/grant', { TTL: ttl }, signal))
    await this.call('/v3/kv/put', { key: base64(this.prefix + node), value: base64(value), lease: id }, signal)
    this.lease = { id, value, renewAt: now + this.options.nodeTtl / 3 }
  }

  private async keepAlive(id: string, signal: AbortSignal): Promise<boolean> {
    const { result } = keepAliveAnswer.parse(await this.call('/v3/lease/keepalive', { ID: id }, signal))
    return Number(result.TTL) > 0
  }

  private async list(signal: AbortSignal): Promise<readonly string[]> {
    const query = { key: base64(this.prefix), range_end: base64(endOfPrefix(this.prefix)), limit: String(MAXIMUM_KEYS) }
    const { kvs } = rangeAnswer.parse(await this.call('/v3/kv/range', query, signal))
    const own = this.prefix + this.modules.self().node
    let hasOwn = false
    const addresses: string[] = []
    for (const entry of kvs) {
      const key = Buffer.from(entry.key, 'base64').toString()
      if (key === own) hasOwn = true
      const address = readAddress(entry.value)
      if (address !== undefined) addresses.push(address)
      else this.warnOnce(key)
    }
    // Somebody removed it, or its lease ended while this node was paused.
    if (!hasOwn) this.lease = undefined
    return addresses
  }

  private async call(path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    if (this.options.username !== '' && this.token === undefined) {
      const { username: name, password } = this.options
      const answer = await this.send('/v3/auth/authenticate', { name, password }, signal)
      this.token = tokenAnswer.parse(answer).token
    }
    return this.send(path, body, signal)
  }

  private send(path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    const { server, caFile, certFile, keyFile } = this.options
    const endpoint = server[this.endpoint]
    if (endpoint === undefined) throw new NodeError('no endpoint of etcd', { code: 'DISCOVERY_ENDPOINT' })
    return requestJson({
      url: new URL(path, endpoint),
      method: 'POST',
      body,
      headers: this.token === undefined ? {} : { authorization: this.token },
      files: { caFile, certFile, keyFile },
      signal,
    })
  }

  private async revoke(): Promise<void> {
    const { lease } = this
    this.lease = undefined
    if (lease === undefined) return
    try {
      await this.call('/v3/lease/revoke', { ID: lease.id }, AbortSignal.timeout(REVOKE_TIMEOUT_MS))
    } catch (error) {
      const { message } = asError(error)
      this.modules.log.info({ discovery: 'etcd', detail: message }, 'the key of this node stays until its lease ends')
    }
  }

  private warnOnce(key: string): void {
    if (this.warned.has(key) || this.warned.size >= MAXIMUM_KEYS) return
    this.warned.add(key)
    this.modules.log.warn({ discovery: 'etcd', key }, 'a key in etcd holds no address of a node')
  }
}

function readAddress(value: string): string | undefined {
  try {
    return nodeValue.safeParse(JSON.parse(Buffer.from(value, 'base64').toString())).data?.address
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

/** The first key behind all that begin with this prefix, which ends in a slash. */
function endOfPrefix(prefix: string): string {
  return `${prefix.slice(0, -1)}0`
}
