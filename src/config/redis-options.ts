/** Options of the store in Redis, `store.redis`, and what must be true between them. */

import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { z } from 'zod'
import { AddressError, type HostPort, parseHostPort } from './addresses.js'
import type { DeepReadonly } from './deep-freeze.js'
import { boolean, count, duration, list, secret, text } from './option.js'
import { unreadableReason } from './problem.js'

const DEFAULT_PORT = 6_379

const redisTlsSchema = z.strictObject({
  enabled: boolean(
    false,
    'Whether connections to Redis, and to its Sentinels, are TLS. With `rediss://` in `store.redis.url` they are, too.',
  ),
  caFile: text(
    '',
    { accepted: 'a path' },
    'PEM file of the authorities that sign the certificates of Redis. Empty: those of Node.js. Read at the start, like the two below.',
  ),
  certFile: text('', { accepted: 'a path' }, 'PEM file of the certificate that this node shows to Redis.'),
  keyFile: text('', { accepted: 'a path' }, 'PEM file of the private key of `store.redis.tls.certFile`.'),
  serverName: text(
    '',
    { accepted: 'a DNS name' },
    'The name that the certificates of Redis must have. Empty: the host that is connected to.',
  ),
})

export const redisSchema = z.strictObject({
  url: text(
    '',
    { accepted: 'redis://host:port or rediss://host:port (TLS)', check: checkUrl },
    'A single Redis, when `store.kind` is `redis`. User, password and database have options of their own.',
  ),
  sentinels: list(
    [],
    { accepted: 'a list of host:port', check: checkEndpoint },
    'Instead of `url`: the Sentinels, which say where the master called `store.redis.name` is, and follow it when it fails over.',
  ),
  name: text('', { accepted: 'a text' }, 'What the Sentinels call the master.'),
  cluster: list(
    [],
    { accepted: 'a list of host:port', check: checkEndpoint },
    'Instead of `url`: some nodes of a Redis Cluster, which tell of the others. All that a node of ours keeps is in one hash slot.',
  ),
  username: text('', { accepted: 'a text' }, 'User of Redis (ACL). Empty: its default user.'),
  password: secret('a text', 'Password of `store.redis.username`, or of Redis as a whole. Not a flag.'),
  passwordFile: text(
    '',
    { accepted: 'a path' },
    'A file whose content, without surrounding white space, is the password.',
  ),
  sentinelUsername: text('', { accepted: 'a text' }, 'User of the Sentinels, where they have their own.'),
  sentinelPassword: secret('a text', 'Password of the Sentinels, where they have one.'),
  sentinelPasswordFile: text(
    '',
    { accepted: 'a path' },
    'A file whose content, without surrounding white space, is the password of the Sentinels.',
  ),
  db: count(0, [0, 65_535], 'Number of the database. A Redis Cluster has only 0.'),
  tls: redisTlsSchema.prefault({}),
  keyPrefix: text(
    'shoalmq:',
    { accepted: 'up to 64 characters without braces and white space', check: checkPrefix },
    'What all keys begin with; then come the names of the cluster and of the node, in braces. The same on all nodes.',
  ),
  connectTimeout: duration(
    '10s',
    ['100ms', '10m'],
    'How long a node that starts waits for Redis; then it ends with an error.',
  ),
  waitTime: duration(
    '2s',
    ['50ms', '1m'],
    'How long Redis may take to answer, and how long publishers of QoS 1 and 2 wait for what has to be kept while it is away. Then they are refused, until it is back.',
  ),
  adoptAfter: duration(
    '1s',
    ['0ms', '1h'],
    'How long after a node was found down (`cluster.downAfter`) another takes its sessions over. The same on all nodes.',
  ),
  waitReplicas: count(
    0,
    [0, 100],
    'How many replicas of Redis must have received what is to be kept, before it counts as kept (WAIT). 0: the master alone decides, and what it acknowledged last may be lost with it.',
  ),
})

/** Every key of `store.redis`. */
export const REDIS_KEYS: readonly string[] = [
  ...Object.keys(redisSchema.shape).filter((name) => name !== 'tls'),
  ...Object.keys(redisTlsSchema.shape).map((name) => `tls.${name}`),
].map((name) => `store.redis.${name}`)

export type RedisOptions = DeepReadonly<z.output<typeof redisSchema>>

/** A URL as `store.redis.url` has it. @throws AddressError */
export function parseRedisUrl(url: string): HostPort & { isTls: boolean } {
  const match = /^(rediss?):\/\/([^/?#]*)\/?$/.exec(url)
  const host = match?.[2] ?? ''
  if (match === null) throw new AddressError('expected redis://host:port or rediss://host:port, and nothing behind it')
  if (host.includes('@')) {
    throw new AddressError(
      'user and password do not belong in a URL: store.redis.username and passwordFile are for them',
    )
  }
  const hasPort = /:\d+$/.test(host.replace(/\[.*\]/, ''))
  return { isTls: match[1] === 'rediss', ...parseEndpoint(hasPort ? host : `${host}:${DEFAULT_PORT}`) }
}

/** What is wrong with the options together; none when `store.kind` is `redis` and they are right. */
export function redisProblems(kind: string, options: RedisOptions): readonly string[] {
  const { url, sentinels, cluster, name, db, tls } = options
  const places = [url !== '' && 'url', sentinels.length > 0 && 'sentinels', cluster.length > 0 && 'cluster'].flatMap(
    (place) => (place === false ? [] : [`store.redis.${place}`]),
  )
  if (kind !== 'redis') {
    return places.length === 0
      ? []
      : [`${places.join(' and ')} says nothing while store.kind is ${kind}; expected redis`]
  }
  const problems: string[] = []
  if (places.length !== 1) {
    const found = places.length === 0 ? 'none is set' : `${places.join(' and ')} are set`
    problems.push(`${found}; store.kind redis needs one of store.redis.url, store.redis.sentinels, store.redis.cluster`)
  }
  if (sentinels.length > 0 && name === '') problems.push('store.redis.sentinels needs store.redis.name, the master')
  if (sentinels.length === 0 && name !== '')
    problems.push('store.redis.name says nothing without store.redis.sentinels')
  if (cluster.length > 0 && db !== 0) problems.push(`store.redis.db is ${db}, but a Redis Cluster has only 0`)
  for (const key of ['password', 'sentinelPassword'] as const) {
    if (options[key] !== '' && options[`${key}File`] !== '') {
      problems.push(`store.redis.${key} and store.redis.${key}File are both set; expected one of them`)
    }
  }
  if ((tls.certFile === '') !== (tls.keyFile === '')) {
    problems.push('store.redis.tls.certFile goes with store.redis.tls.keyFile: both or none')
  }
  for (const key of ['caFile', 'certFile', 'keyFile'] as const) {
    const problem = tls[key] === '' ? undefined : fileProblem(tls[key])
    if (problem !== undefined) problems.push(`store.redis.tls.${key} is ${tls[key]}: ${problem}`)
  }
  return problems
}

/** For Node.js; undefined without TLS. @throws Error when a file cannot be read */
export function redisTls({ url, tls }: RedisOptions): ConnectionOptions | undefined {
  if (!tls.enabled && !(url !== '' && parseRedisUrl(url).isTls)) return undefined
  return {
    ...(tls.caFile === '' ? {} : { ca: readFileSync(tls.caFile) }),
    ...(tls.certFile === '' ? {} : { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) }),
    ...(tls.serverName === '' ? {} : { servername: tls.serverName }),
  }
}

function fileProblem(path: string): string | undefined {
  try {
    readFileSync(path)
    return undefined
  } catch (error) {
    return unreadableReason(error)
  }
}

function parseEndpoint(value: string): HostPort {
  const address = parseHostPort(value)
  if (address.port === 0) throw new AddressError('port 0 cannot be dialed')
  return address
}

function checkEndpoint(value: string): void {
  parseEndpoint(value)
}

function checkUrl(value: string): void {
  if (value !== '') parseRedisUrl(value)
}

function checkPrefix(value: string): void {
  if (/[{}\s]/.test(value)) throw new AddressError('it has braces or white space')
  if (value.length > 64) throw new AddressError('it is too long')
}
