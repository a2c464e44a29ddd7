/** What must be true between options, beyond the range of each. */

import { formatHostPort, formatListener, isLoopback, parseHostPort } from './addresses.js'
import { listenerSettings } from './listener-options.js'
import { listenerProblems, openListeners } from './listener-rules.js'
import { meshTlsProblems, meshTlsSchema } from './mesh-tls-options.js'
import type { Config } from './options.js'
import { REDIS_KEYS, redisProblems } from './redis-options.js'
import { tlsSchema } from './tls-options.js'
import { formatDuration, formatSize } from './units.js'

/** A rule is asked only when all its keys are valid by themselves. It returns what is wrong, under its first key. */
export interface Rule {
  keys: readonly string[]
  check(config: Config): readonly string[]
}

const TLS_KEYS: readonly string[] = Object.keys(tlsSchema.shape).map((name) => `tls.${name}`)
const MESH_TLS_KEYS: readonly string[] = Object.keys(meshTlsSchema.shape).map((name) => `cluster.tls.${name}`)

export const RULES: readonly Rule[] = [
  { keys: ['listen', 'allowAnonymous', 'access.usersFile', ...TLS_KEYS], check: openListeners },
  { keys: ['listen', ...TLS_KEYS], check: listenerProblems },
  { keys: MESH_TLS_KEYS, check: ({ cluster }) => meshTlsProblems(cluster.tls) },
  {
    keys: ['mqtt.connectBurst', 'mqtt.connectRate'],
    check: ({ mqtt }) =>
      mqtt.connectBurst > 0 && mqtt.connectRate === 0 ? ['it says nothing without mqtt.connectRate'] : [],
  },
  {
    keys: ['store.kind', ...REDIS_KEYS],
    check: ({ store }) => redisProblems(store.kind, store.redis),
  },
  {
    keys: ['cluster.secret', 'cluster.secretFile', 'cluster.listen'],
    check: ({ cluster }) => {
      if (cluster.secret !== '' && cluster.secretFile !== '') {
        return ['cluster.secret and cluster.secretFile are both set; expected one of them']
      }
      const isOpen = cluster.listen !== '' && !isLoopback(parseHostPort(cluster.listen).host)
      if (!isOpen || cluster.secret !== '' || cluster.secretFile !== '') return []
      return [
        `cluster.listen ${cluster.listen} is not on loopback, so the cluster needs a secret: ` +
          'set cluster.secret or cluster.secretFile (SHOALMQ_CLUSTER__SECRET, SHOALMQ_CLUSTER__SECRET_FILE)',
      ]
    },
  },
  longer('cluster.suspectAfter', 'cluster.heartbeatInterval', ({ cluster }) => [
    cluster.suspectAfter,
    cluster.heartbeatInterval,
  ]),
  longer('cluster.downAfter', 'cluster.suspectAfter', ({ cluster }) => [cluster.downAfter, cluster.suspectAfter]),
  {
    keys: ['cluster.dns.name', 'cluster.discovery'],
    check: ({ cluster }) =>
      cluster.discovery === 'dns' && cluster.dns.name === ''
        ? ['it is empty, and cluster.discovery dns needs a name to resolve']
        : [],
  },
  {
    keys: ['cluster.etcd.certFile', 'cluster.etcd.keyFile'],
    check: ({ cluster: { etcd } }) =>
      (etcd.certFile === '') === (etcd.keyFile === '') ? [] : ['it goes with cluster.etcd.keyFile: both or none'],
  },
  {
    keys: ['cluster.k8s.namespace', 'cluster.k8s.tokenFile', 'cluster.discovery'],
    check: ({ cluster: { discovery, k8s } }) =>
      discovery === 'k8s' && k8s.namespace === '' && k8s.tokenFile === ''
        ? ['it is empty, and there is no cluster.k8s.tokenFile beside which the namespace of the pod is told']
        : [],
  },
  {
    keys: ['cluster.seeds'],
    check: ({ cluster }) => cluster.seeds.filter(hasNoPort).map((seed) => `${seed} has port 0, which cannot be dialed`),
  },
  {
    keys: ['cluster.advertise'],
    check: ({ cluster: { advertise } }) =>
      advertise !== '' && hasNoPort(advertise) ? [`${advertise} has port 0, which cannot be dialed`] : [],
  },
  {
    keys: ['listen', 'admin.listen', 'cluster.listen'],
    check: (config) => doubleAddresses(config).map((address) => `${address} is used twice`),
  },
  {
    keys: ['mqtt.serverMoved', 'mqtt.serverReference'],
    check: ({ mqtt }) =>
      mqtt.serverMoved && mqtt.serverReference === ''
        ? ['it is true, and mqtt.serverReference does not say where clients are to go']
        : [],
  },
  holdsOnePacket('mqtt.queueBytes', ({ mqtt }) => mqtt.queueBytes),
  holdsOnePacket('mqtt.outboxLimit', ({ mqtt }) => mqtt.outboxLimit),
  holdsOnePacket('cluster.linkBuffer', ({ cluster }) => cluster.linkBuffer),
  holdsOnePacket('cluster.handoff.bytes', ({ cluster }) => cluster.handoff.bytes),
  holdsOnePacket('cluster.qos0Buffer', ({ cluster }) => cluster.qos0Buffer),
]

function longer(key: string, thanKey: string, read: (config: Config) => readonly [number, number]): Rule {
  return {
    keys: [key, thanKey],
    check(config) {
      const [value, least] = read(config)
      if (value > least) return []
      return [`${formatDuration(value)} is not longer than ${thanKey}, which is ${formatDuration(least)}`]
    },
  }
}

/** A queue that cannot hold the largest packet would drop it for ever. */
function holdsOnePacket(key: string, read: (config: Config) => number): Rule {
  return {
    keys: [key, 'mqtt.maximumPacketSize'],
    check(config) {
      const largest = config.mqtt.maximumPacketSize
      if (read(config) >= largest) return []
      return [
        `${formatSize(read(config))} cannot hold one packet of mqtt.maximumPacketSize, which is ${formatSize(largest)}`,
      ]
    },
  }
}

function hasNoPort(address: string): boolean {
  return parseHostPort(address).port === 0
}

function doubleAddresses(config: Config): string[] {
  const listeners = listenerSettings(config).map(({ address }) => address)
  const ports = [...listeners.filter(({ scheme }) => scheme !== 'unix'), parseHostPort(config.admin.listen)]
  if (config.cluster.listen !== '') ports.push(parseHostPort(config.cluster.listen))
  const texts = [
    ...ports.filter(({ port }) => port !== 0).map(formatHostPort),
    ...listeners.filter(({ scheme }) => scheme === 'unix').map(formatListener),
  ]
  return [...new Set(texts.filter((text, index) => texts.indexOf(text) !== index))]
}
