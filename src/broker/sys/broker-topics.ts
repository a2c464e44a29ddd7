/** `$SYS/broker/…`: the names that Mosquitto has for what the node that a client is connected to knows of itself. */

import { VERSION } from '../../version.js'
import type { BrokerMetrics } from '../metrics.js'
import { LoadAverages } from './load-averages.js'
import type { StatisticName } from './node-topics.js'
import type { Peaks } from './peaks.js'
import { type SysSource, type SysTopic, total } from './sys-topic.js'

/** What the load averages are of. */
export function loadAverages({ mqtt, session }: BrokerMetrics): LoadAverages {
  return new LoadAverages({
    'messages/received': () => total(mqtt.packetsReceived) + total(mqtt.messagesReceived),
    'messages/sent': () => total(mqtt.packetsSent) + total(session.sent),
    'publish/received': () => total(mqtt.messagesReceived),
    'publish/sent': () => total(session.sent),
    'publish/dropped': () => total(session.dropped),
    'bytes/received': () => mqtt.bytesReceived.value,
    'bytes/sent': () => mqtt.bytesSent.value,
    sockets: () => mqtt.connectionsOpened.value,
    connections: () => mqtt.packetsReceived.connect.value,
  })
}

export function brokerTopics(
  source: SysSource,
  peaks: Peaks<StatisticName>,
  loads: LoadAverages,
  metrics: BrokerMetrics,
): SysTopic[] {
  const topic = (name: string, read: () => string | number): SysTopic => {
    return { topic: `$SYS/broker/${name}`, isLocal: true, read: () => String(read()) }
  }
  const { mqtt, session } = metrics
  const away = (): number => source.sessions() - source.connections()
  const kept = (): number => source.retainedMessages() + source.queuedMessages()
  return [
    topic('version', () => `shoalmq version ${VERSION}`),
    topic('uptime', () => `${Math.floor(source.uptime() / 1000)} seconds`),
    topic('clients/total', () => source.sessions()),
    topic('clients/connected', () => source.connections()),
    topic('clients/active', () => source.connections()),
    topic('clients/disconnected', away),
    topic('clients/inactive', away),
    topic('clients/expired', () => metrics.sessionsExpired.value),
    topic('clients/maximum', () => peaks.highestOf('connections')),
    topic('messages/received', () => total(mqtt.packetsReceived) + total(mqtt.messagesReceived)),
    topic('messages/sent', () => total(mqtt.packetsSent) + total(session.sent)),
    topic('messages/inflight', () => source.inFlightMessages()),
    topic('messages/stored', kept),
    topic('store/messages/count', kept),
    topic('store/messages/bytes', () => source.retainedBytes() + source.queuedBytes()),
    topic('publish/messages/received', () => total(mqtt.messagesReceived)),
    topic('publish/messages/sent', () => total(session.sent)),
    topic('publish/messages/dropped', () => total(session.dropped)),
    topic('bytes/received', () => mqtt.bytesReceived.value),
    topic('bytes/sent', () => mqtt.bytesSent.value),
    topic('subscriptions/count', () => source.subscriptions()),
    topic('shared_subscriptions/count', () => source.sharedSubscriptions()),
    topic('retained messages/count', () => source.retainedMessages()),
    topic('heap/current', () => process.memoryUsage().heapUsed),
    ...Array.from(loads.topics(), ([name, read]) => topic(`load/${name}`, read)),
  ]
}
