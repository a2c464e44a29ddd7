/** Options of the ways to find the first peers beside the list and DNS: `cluster.mcast`, `cluster.etcd`, `cluster.k8s`. */

import { isIPv4 } from 'node:net'
import { z } from 'zod'
import { AddressError, parseHostPort } from './addresses.js'
import type { DeepReadonly } from './deep-freeze.js'
import { boolean, choice, count, duration, list, secret, text } from './option.js'

/** Values of `cluster.discovery`. */
export const DISCOVERY_KINDS = ['static', 'dns', 'mcast', 'etcd', 'k8s'] as const
export type DiscoveryKind = (typeof DISCOVERY_KINDS)[number]

/** Where Kubernetes mounts what a pod needs to ask its API. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

export const mcastSchema = z.strictObject({
  addr: text(
    '239.192.0.1',
    { accepted: 'an IPv4 multicast address, 224.0.0.0 to 239.255.255.255', check: checkMulticastAddress },
    'Group that nodes announce themselves to when `cluster.discovery` is `mcast`.',
  ),
  ports: list(
    ['4369', '4370'],
    { accepted: 'a list of UDP ports from 1 to 65535', check: checkPort, least: 1 },
    'A node listens on the first of these that is free and announces itself to all of them: as many nodes share a host as there are ports.',
  ),
  iface: text(
    '0.0.0.0',
    { accepted: 'an IPv4 address of this host', check: checkIpv4 },
    'Address of the network interface to use. `0.0.0.0`: the one that the system routes the group to.',
  ),
  ttl: count(255, [0, 255], 'How many routers an announcement may pass; 0 keeps it on this host.'),
  loop: boolean(true, 'Whether other nodes on this host hear the announcements too.'),
  interval: duration(
    '5s',
    ['100ms', '1m'],
    'How often a node announces itself; after three without one it is no seed.',
  ),
})

export const etcdSchema = z.strictObject({
  server: list(
    ['http://127.0.0.1:2379'],
    { accepted: 'a list of http://host:port or https://host:port', check: checkEndpoint, least: 1 },
    'Endpoints of etcd, version 3.4 or newer, when `cluster.discovery` is `etcd`. One that fails is passed over for the next.',
  ),
  prefix: text(
    'shoalmq',
    { accepted: '1 to 256 characters', check: checkPrefix },
    'Nodes are kept under `{prefix}/{cluster.name}/nodes/{node}`.',
  ),
  nodeTtl: duration('1m', ['5s', '1h'], 'Life of the lease of a node: so long after a crash its key is gone.'),
  interval: duration('5s', ['100ms', '1h'], 'How often the keys are read.'),
  username: text('', { accepted: 'a text' }, 'User of etcd, where it has authentication.'),
  password: secret('a text', 'Password of `cluster.etcd.username`.'),
  caFile: text(
    '',
    { accepted: 'a path' },
    'PEM file of the authorities that sign the certificates of etcd. Empty: those of Node.js. Read again for each connection, like the two below.',
  ),
  certFile: text('', { accepted: 'a path' }, 'PEM file of the certificate that this node shows to etcd.'),
  keyFile: text('', { accepted: 'a path' }, 'PEM file of the private key of `cluster.etcd.certFile`.'),
})

export const k8sSchema = z.strictObject({
  apiserver: text(
    'https://kubernetes.default.svc:443',
    { accepted: 'http://host:port or https://host:port', check: checkEndpoint },
    'The API server of Kubernetes, asked when `cluster.discovery` is `k8s`.',
  ),
  serviceName: text(
    'shoalmq-headless',
    { accepted: 'the name of a Service', check: checkServiceName },
    'The Service whose EndpointSlices name the nodes; ready or not, but not those that terminate.',
  ),
  namespace: text(
    '',
    { accepted: 'the name of a namespace', check: checkOptionalName },
    'Namespace of the Service. Empty: that of the pod, from the file `namespace` beside `cluster.k8s.tokenFile`.',
  ),
  addressType: choice(
    'ip',
    ['ip', 'dns', 'hostname'],
    'How a node is dialed: by the `ip` of its pod; by `dns`, `{ip with dashes}.{namespace}.{suffix}`; or by `hostname`, `{host name}.{service}.{namespace}.{suffix}`, for the pods of a StatefulSet.',
  ),
  suffix: text(
    '',
    { accepted: 'a DNS domain', check: checkOptionalName },
    'End of the names that `cluster.k8s.addressType` makes. Empty: `pod.cluster.local` for `dns`, `svc.cluster.local` for `hostname`.',
  ),
  port: count(5370, [1, 65_535], 'Cluster port of the nodes.'),
  interval: duration('10s', ['100ms', '1h'], 'How often the API is asked.'),
  tokenFile: text(
    `${SERVICE_ACCOUNT}/token`,
    { accepted: 'a path' },
    'File of the token of the service account, which may `list` `endpointslices`. Read again for each request, since tokens are short-lived. Empty: no token.',
  ),
  caFile: text(
    `${SERVICE_ACCOUNT}/ca.crt`,
    { accepted: 'a path' },
    'PEM file of the authority of the API server, read again for each request. Empty: those of Node.js.',
  ),
})

export type MulticastOptions = DeepReadonly<z.output<typeof mcastSchema>>
export type EtcdOptions = DeepReadonly<z.output<typeof etcdSchema>>
export type KubernetesOptions = DeepReadonly<z.output<typeof k8sSchema>>

const DNS_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/

function checkMulticastAddress(value: string): void {
  const first = Number(value.split('.')[0])
  if (!isIPv4(value) || first < 224 || first > 239) throw new AddressError('it is no IPv4 multicast address')
}

function checkIpv4(value: string): void {
  if (!isIPv4(value)) throw new AddressError('it is no IPv4 address')
}

function checkPort(value: string): void {
  const port = Number(value)
  if (!/^\d{1,5}$/.test(value) || port < 1 || port > 65_535) throw new AddressError('it is no port from 1 to 65535')
}

function checkEndpoint(value: string): void {
  const match = /^https?:\/\/([^/]+)\/?$/.exec(value)
  if (match === null) throw new AddressError('expected http://host:port or https://host:port')
  if (parseHostPort(match[1] ?? '').port === 0) throw new AddressError('port 0 cannot be dialed')
}

function checkPrefix(value: string): void {
  if (value.length < 1 || value.length > 256) throw new AddressError('a prefix has 1 to 256 characters')
}

function checkServiceName(value: string): void {
  if (!DNS_NAME.test(value)) throw new AddressError('it is no name of a Service')
}

function checkOptionalName(value: string): void {
  if (value !== '' && !DNS_NAME.test(value)) throw new AddressError('it is no DNS name')
}
