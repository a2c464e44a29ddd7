/**
 * A program written against the types of `aedes`, as one finds them in the wild: it compiles with them, with this
 * package's sources and with this package as built, and does on every broker what it says.
 */

import type { Duplex } from 'node:stream'
import type { Aedes, AedesOptions, AedesPublishPacket, AuthenticateError, Client, Subscription } from 'aedes'

/** The program's options, every one that still has a meaning. */
export const OPTIONS: AedesOptions = {
  id: 'program',
  concurrency: 200,
  heartbeatInterval: 30_000,
  connectTimeout: 5_000,
  drainTimeout: 20_000,
  keepaliveLimit: 0,
  queueLimit: 100,
  maxInflightInbound: 500,
  maxClientsIdLength: 23,
  maxTopicLevels: 20,
  trustProxy: false,
  trustedProxies: [],
  preConnect: (client, packet, callback) => callback(null, packet.clientId !== 'banned' && !client.connected),
}

/** Sets hooks, listens to events and subscribes; what it sees becomes lines. */
export function install(broker: Aedes): string[] {
  const lines: string[] = []
  const nameOf = (client: Client | null): string => client?.id ?? 'broker'

  broker.authenticate = (client, username, password, done) => {
    if (username === 'mallory') {
      const error = Object.assign(new Error('not her'), { returnCode: 4 }) as AuthenticateError
      return done(error, null)
    }
    lines.push(`in ${client.id} ${username ?? '-'} ${password?.length ?? 0}`)
    done(null, true)
  }
  broker.authorizePublish = (client, packet, callback) => {
    if (packet.topic.startsWith('$SYS/')) return callback(new Error('reserved'))
    lines.push(`by ${nameOf(client)} ${packet.topic} ${packet.payload}`)
    callback()
  }
  broker.authorizeSubscribe = (_client: Client, subscription: Subscription, callback) => {
    callback(null, subscription.topic === 'no' ? null : subscription)
  }
  broker.authorizeForward = (client: Client, packet: AedesPublishPacket) => {
    return packet.topic === `not/for/${client.id}` ? null : packet
  }
  broker.published = (_packet, _client, callback) => callback()

  broker.on('client', (client) => lines.push(`client ${client.id} ${client.version} ${client.clean}`))
  broker.on('clientReady', (client) => lines.push(`ready ${client.id}`))
  broker.on('clientDisconnect', (client) => lines.push(`gone ${client.id}`))
  broker.on('clientError', (client, error) => lines.push(`error ${client.id} ${error.message}`))
  broker.on('connectionError', (_client, error) => lines.push(`connection error ${error.message}`))
  broker.on('connackSent', (packet, client) => lines.push(`connack ${packet.returnCode} ${client.id}`))
  broker.on('keepaliveTimeout', (client) => lines.push(`timeout ${client.id}`))
  broker.on('ping', (packet, client) => lines.push(`${packet.cmd} ${client.id}`))
  broker.on('ack', (packet, client) => lines.push(`ack ${packet.messageId} ${client.id}`))
  broker.on('subscribe', (subscriptions, client) => {
    lines.push(`subscribe ${subscriptions.map(({ topic, qos }) => `${topic}=${qos}`)} ${client.id}`)
  })
  broker.on('unsubscribe', (filters, client) => lines.push(`unsubscribe ${filters} ${client.id}`))
  broker.on('closed', () => lines.push('closed'))
  return lines
}

/** Takes a stream over, as a server of any kind would. */
export function serve(broker: Aedes, stream: Duplex): Client {
  return broker.handle(stream)
}

/** Publishes, and resolves when the broker has called back. */
export function announce(broker: Aedes, topic: string, payload: string): Promise<void> {
  return new Promise((resolve, reject) => {
    broker.publish({ cmd: 'publish', topic, payload, qos: 1, dup: false, retain: false }, (error) => {
      if (error) reject(error)
      else resolve()
    })
  })
}
