/**
 * Every option once: key, default, range, flag and help. The environment name follows from the key
 * (`environmentName`). `docs/configuration.md`, `--help` and the messages of `load.ts` are made from this schema.
 * After loading, durations are numbers of milliseconds and sizes are numbers of bytes.
 */

import { isIP } from 'node:net'
import { z } from 'zod'
import { accessSchema } from './access-options.js'
import { AddressError, parseHostPort, parseNodeName } from './addresses.js'
import { type DeepReadonly, deepFreeze } from './deep-freeze.js'
import { DISCOVERY_KINDS, etcdSchema, k8sSchema, mcastSchema } from './discovery-options.js'
import { drainSchema } from './drain-options.js'
import { handoffSchema } from './handoff-options.js'
import { listeners } from './listener-options.js'
import { meshTlsSchema } from './mesh-tls-options.js'
import { mqttSchema } from './mqtt-options.js'
import { boolean, choice, count, duration, list, secret, size, text } from './option.js'
import { NEWEST_PROTOCOL_VERSION, OLDEST_PROTOCOL_VERSION } from './protocol-version.js'
import { storeSchema } from './store-options.js'
import { sysSchema } from './sys-options.js'
import { tlsSchema } from './tls-options.js'

const adminSchema = z.strictObject({
  listen: text(
    '127.0.0.1:18083',
    { accepted: 'host:port', check: parseHostPort, flag: '--admin' },
    'Where the admin HTTP server listens: `/metrics`, `/livez`, `/readyz`, `/api/v1/cluster`. It has no login: keep it on loopback or in a trusted network.',
  ),
})

const dnsSchema = z.strictObject({
  name: text(
    '',
    { accepted: 'a DNS name' },
    'The name to resolve when `cluster.discovery` is `dns`, such as a headless service. For `srv` the full name: `_cluster._tcp.shoalmq.example`.',
  ),
  type: choice(
    'a',
    ['a', 'srv'],
    'Which records to ask for: `a` asks for A and AAAA, `srv` takes the port from the answer too.',
  ),
  port: count(5370, [1, 65_535], 'Cluster port of the nodes found by `a` (SRV records name their own).'),
  servers: list(
    [],
    { accepted: 'a list of DNS servers, each an IP address or address:port', check: checkDnsServer },
    'DNS servers to ask; none means those of the system.',
  ),
  interval: duration('10s', ['100ms', '1h'], 'How often the name is resolved again.'),
})

const clusterSchema = z.strictObject({
  name: text(
    'shoalmq',
    { accepted: '1 to 64 characters', check: checkClusterName },
    'Name of the cluster. Nodes of another name are refused, so two clusters are not merged by mistake.',
  ),
  listen: text(
    '127.0.0.1:5370',
    { accepted: 'host:port, or off', check: checkOptionalHostPort, flag: '--cluster', offWord: 'off' },
    'Where peers connect. `off` runs a single node without a cluster. Off loopback it needs a secret.',
  ),
  advertise: text(
    '',
    { accepted: 'host:port', check: checkOptionalHostPort },
    'The address that peers are told to dial. Empty: the host of the node name with the port of `cluster.listen`.',
  ),
  secret: secret(
    'a text',
    'Shared secret of the cluster, proved by HMAC and never sent. Not a flag, because command lines are visible to all.',
  ),
  secretFile: text('', { accepted: 'a path' }, 'A file whose content, without surrounding white space, is the secret.'),
  tls: meshTlsSchema.prefault({}),
  discovery: choice(
    'static',
    DISCOVERY_KINDS,
    'How the first peers are found: the list in `cluster.seeds`, DNS, a multicast group of the local network, etcd, or the Kubernetes API.',
  ),
  seeds: list(
    [],
    { accepted: 'a list of host:port', check: parseHostPort, flag: '--seeds' },
    'Cluster addresses of other nodes. One that answers is enough: members tell each other about members.',
  ),
  dns: dnsSchema.prefault({}),
  mcast: mcastSchema.prefault({}),
  etcd: etcdSchema.prefault({}),
  k8s: k8sSchema.prefault({}),
  maximumProtocol: count(
    NEWEST_PROTOCOL_VERSION,
    [OLDEST_PROTOCOL_VERSION, NEWEST_PROTOCOL_VERSION],
    'Newest version of the link protocol that this node offers. A lower one makes it speak to its peers as the release before, which is of use to rehearse an upgrade.',
  ),
  heartbeatInterval: duration('1s', ['10ms', '1m'], 'How often a node tells each peer that it lives.'),
  suspectAfter: duration('3s', ['20ms', '5m'], 'Silence after which a peer is suspect.'),
  downAfter: duration(
    '5s',
    ['30ms', '10m'],
    'Silence after which a peer is down: its link is closed and dialed again.',
  ),
  routeRetention: duration(
    '60s',
    ['0', '1d'],
    'How long a peer that is down keeps its routes, so that QoS 1 and 2 messages wait for it in memory. A clean leave drops them at once. A peer whose sessions outlive it has `cluster.handoff.retention`.',
  ),
  handoff: handoffSchema.prefault({}),
  forgetAfter: duration(
    '1d',
    ['1s', '365d'],
    'A node that has stopped is shown, and dialed, for this long; then it is forgotten. `shoalmq cluster forget` does it at once.',
  ),
  joinTimeout: duration('10s', ['0', '10m'], '`/readyz` answers 200 when the mesh is whole, or after this time.'),
  routeConfirmTimeout: duration('1s', ['0', '1m'], 'How long SUBACK waits for the peers to confirm a new route.'),
  batchBytes: size('32kb', ['1kb', '1mb'], 'Forwarded messages leave in batches of about this size at most.'),
  linkBuffer: size(
    '16mb',
    ['64kb', '4gb'],
    'Per peer: QoS 1 and 2 messages sent and unacknowledged or waiting. Near it, publishers are held back.',
  ),
  qos0Buffer: size('4mb', ['64kb', '4gb'], 'Per peer: QoS 0 messages waiting. Beyond it they are dropped and counted.'),
})

const logSchema = z.strictObject({
  level: choice(
    'info',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'The least severe lines that are written.',
    '--log-level',
  ),
  format: choice(
    'auto',
    ['auto', 'json', 'pretty'],
    '`auto` is `pretty` on a terminal and `json` otherwise.',
    '--log-format',
  ),
})

/** The whole configuration of a node. */
export const configSchema = z.strictObject({
  name: text(
    'n1@127.0.0.1',
    { accepted: 'name@host', check: checkNodeName, flag: '--name' },
    'Name of the node, unique in the cluster: `name@host`, where peers reach it at that host.',
  ),
  data: text(
    './data',
    { accepted: 'a path', check: checkNotEmpty, flag: '--data' },
    'Directory of what the node keeps: its identity, and its store. No two nodes may share one.',
  ),
  listen: listeners(
    ['mqtt://127.0.0.1:1883', 'ws://127.0.0.1:8083/mqtt'],
    'Where clients connect: `mqtt://host:port`, `mqtts://host:port` (TLS), `ws://host:port/path` and `wss://host:port/path` (WebSocket), `unix:///path` (a Unix domain socket). In the file an entry may also be an object, of a `url` and the options below. Off loopback a listener needs clients that prove who they are, or `allowAnonymous: true`.',
  ),
  store: storeSchema.prefault({}),
  allowAnonymous: boolean(
    false,
    'Lets clients without a user name connect. Without a users file nobody else can, so listeners that are not on loopback need it to be written down.',
    '--allow-anonymous',
  ),
  access: accessSchema.prefault({}),
  tls: tlsSchema.prefault({}),
  admin: adminSchema.prefault({}),
  cluster: clusterSchema.prefault({}),
  mqtt: mqttSchema.prefault({}),
  sys: sysSchema.prefault({}),
  drain: drainSchema.prefault({}),
  log: logSchema.prefault({}),
})

/** What a node runs with: loaded, validated, frozen. Durations in milliseconds, sizes in bytes. */
export type Config = DeepReadonly<z.output<typeof configSchema>>
export type AccessOptions = Config['access']
export type AdminOptions = Config['admin']
export type ClusterOptions = Config['cluster']
export type DnsOptions = ClusterOptions['dns']
export type MqttOptions = Config['mqtt']
export type SysOptions = Config['sys']

/** The configuration when nothing is said. */
export const DEFAULTS: Config = deepFreeze(configSchema.parse({}))

function checkNodeName(value: string): void {
  if (parseNodeName(value) === undefined) throw new AddressError('a node name is name@host, as in n1@127.0.0.1')
}

function checkClusterName(value: string): void {
  if (value.length < 1 || value.length > 64) throw new AddressError('a cluster name has 1 to 64 characters')
}

function checkNotEmpty(value: string): void {
  if (value === '') throw new AddressError('it is empty')
}

function checkOptionalHostPort(value: string): void {
  if (value !== '') parseHostPort(value)
}

function checkDnsServer(value: string): void {
  const isBare = /^[^:]+$/.test(value)
  const { host } = parseHostPort(isBare ? `${value}:53` : value)
  // A name would have to be resolved before anything can be.
  if (isIP(host) === 0) throw new AddressError(`${host} is not an IP address`)
}
