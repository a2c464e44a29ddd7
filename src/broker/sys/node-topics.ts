/** `$SYS/brokers` and `$SYS/brokers/{node}/…`: the names that EMQX has for them. */

import { PACKET_TYPES } from '../../mqtt/metrics.js'
import { VERSION } from '../../version.js'
import type { BrokerMetrics } from '../metrics.js'
import type { Peaks } from './peaks.js'
import { type SysSource, type SysTopic, total } from './sys-topic.js'

const DESCRIPTION = 'ShoalMQ, a masterless clustered MQTT broker'

/** Each as `stats/{name}/count` and `stats/{name}/max`. */
export type StatisticName =
  | 'connections'
  | 'sessions'
  | 'topics'
  | 'subscriptions'
  | 'subscriptions/shared'
  | 'retained'
  | 'delayed'

/** Below this is everything of one node. */
export function nodePrefix(node: string): string {
  return `$SYS/brokers/${node}`
}

export function nodeTopics(
  node: string,
  source: SysSource,
  peaks: Peaks<StatisticName>,
  metrics: BrokerMetrics,
): SysTopic[] {
  const topic = (name: string, read: () => string | number): SysTopic => {
    return { topic: `${nodePrefix(node)}/${name}`, isLocal: false, read: () => String(read()) }
  }
  return [
    // Every node knows them all: those of the others would come as so many copies.
    { topic: '$SYS/brokers', isLocal: true, read: () => source.nodes().join(',') },
    topic('version', () => VERSION),
    topic('sysdescr', () => DESCRIPTION),
    topic('uptime', () => Math.round(source.uptime())),
    topic('datetime', () => new Date().toISOString()),
    ...peaks.names.flatMap((name) => [
      topic(`stats/${name}/count`, () => peaks.current(name)),
      topic(`stats/${name}/max`, () => peaks.highestOf(name)),
    ]),
    ...metricsOf(metrics).map(([name, read]) => topic(`metrics/${name}`, read)),
  ]
}

/** PUBLISH packets of clients that were refused. */
function refused(metrics: BrokerMetrics): number {
  return total(metrics.mqtt.publishesRefused)
}

function metricsOf(metrics: BrokerMetrics): (readonly [name: string, read: () => number])[] {
  const { mqtt, session } = metrics
  const { messagesReceived, packetsReceived, packetsSent, connectRefused, publishesRefused, subscriptionsRefused } =
    mqtt
  const { sent, dropped } = session
  return [
    ['bytes/received', () => mqtt.bytesReceived.value],
    ['bytes/sent', () => mqtt.bytesSent.value],
    ['packets/received', () => total(packetsReceived) + total(messagesReceived)],
    ['packets/sent', () => total(packetsSent) + total(sent)],
    ['packets/publish/received', () => total(messagesReceived)],
    ['packets/publish/sent', () => total(sent)],
    ['packets/publish/auth_error', () => publishesRefused.access_denied.value + publishesRefused.not_authorized.value],
    ['packets/publish/inuse', () => publishesRefused.duplicate_qos2.value],
    ['packets/publish/dropped', () => publishesRefused.quota_exceeded.value],
    ['packets/connack/error', () => total(connectRefused)],
    ['packets/connack/auth_error', () => connectRefused.bad_credentials.value + connectRefused.not_authorized.value],
    ['packets/subscribe/auth_error', () => subscriptionsRefused.not_authorized.value],
    ['packets/subscribe/error', () => total(subscriptionsRefused) - subscriptionsRefused.not_authorized.value],
    ...PACKET_TYPES.flatMap(
      (type) =>
        [
          [`packets/${type}/received`, () => packetsReceived[type].value],
          [`packets/${type}/sent`, () => packetsSent[type].value],
        ] as const,
    ),
    ['messages/received', () => total(messagesReceived)],
    ['messages/sent', () => total(sent)],
    ...(['0', '1', '2'] as const).flatMap(
      (qos) =>
        [
          [`messages/qos${qos}/received`, () => messagesReceived[qos].value],
          [`messages/qos${qos}/sent`, () => sent[qos].value],
        ] as const,
    ),
    ['messages/publish', () => total(messagesReceived) - refused(metrics)],
    ['messages/delivered', () => total(sent)],
    ['messages/acked', () => packetsReceived.puback.value + packetsReceived.pubrec.value],
    ['messages/dropped', () => metrics.unmatched.value + total(dropped)],
    ['messages/dropped/no_subscribers', () => metrics.unmatched.value],
    ['delivery/dropped', () => total(dropped)],
    ['delivery/dropped/queue_full', () => dropped.queue_full.value],
    ['delivery/dropped/too_large', () => dropped.too_large.value],
    ['delivery/dropped/expired', () => dropped.expired.value],
    ['delivery/dropped/qos0_msg', () => dropped.outbox_full.value + dropped.offline_qos0.value],
    ['client/connect', () => packetsReceived.connect.value],
    ['client/connack', () => packetsSent.connack.value],
    ['session/takenover', () => metrics.takeovers.value],
    ['session/terminated', () => metrics.sessionsExpired.value],
  ]
}
