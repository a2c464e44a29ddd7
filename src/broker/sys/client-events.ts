/** What happens to clients, as JSON with the fields that EMQX has for it. */

import type { ClientEvent } from '../../config/sys-options.js'
import type { CloseReason } from '../../mqtt/close-reason.js'
import type { Connection } from '../../mqtt/connection.js'
import type { Grant } from '../../mqtt/host.js'

/** EMQX's words for reasons to close; the others are our own. */
const REASONS: Partial<Record<CloseReason, string>> = {
  client_disconnect: 'normal',
  client_closed: 'tcp_closed',
  keep_alive_timeout: 'keepalive_timeout',
  taken_over: 'takenover',
  administrative: 'kicked',
}

/**
 * The topic of an event. Wildcards cannot be part of a topic name, so those of a client ID are written as in a URL;
 * the whole ID is in the payload.
 */
export function eventTopic(prefix: string, clientId: string, event: ClientEvent): string {
  return `${prefix}/clients/${clientId.replaceAll('+', '%2B').replaceAll('#', '%23')}/${event}`
}

export function connectedPayload(connection: Connection, cleanStart: boolean): string {
  return JSON.stringify({
    ...commonOf(connection),
    connack: 0,
    clean_start: cleanStart,
    keepalive: connection.liveness.keepAlive,
    expiry_interval: connection.session?.expiryInterval ?? 0,
  })
}

export function disconnectedPayload(connection: Connection, reason: CloseReason): string {
  return JSON.stringify({
    ...commonOf(connection),
    reason: REASONS[reason] ?? reason,
    disconnected_at: Date.now(),
  })
}

export function subscribedPayload(connection: Connection, { topicFilter, options, isNew }: Grant): string {
  const { qos, noLocal, retainAsPublished, retainHandling, subscriptionId } = options
  return JSON.stringify({
    ...clientOf(connection),
    topic: topicFilter,
    subopts: {
      qos,
      nl: Number(noLocal),
      rap: Number(retainAsPublished),
      rh: retainHandling,
      is_new: isNew,
      sub_props: subscriptionId === undefined ? {} : { 'Subscription-Identifier': subscriptionId },
    },
  })
}

export function unsubscribedPayload(connection: Connection, topicFilter: string): string {
  return JSON.stringify({ ...clientOf(connection), topic: topicFilter })
}

function clientOf({ clientId, username }: Connection) {
  return { clientid: clientId, username: username ?? 'undefined', protocol: 'mqtt', ts: Date.now() }
}

function commonOf(connection: Connection) {
  const { origin, version, openedAt } = connection
  return {
    ...clientOf(connection),
    ipaddress: origin.remoteAddress,
    sockport: portOf(origin.listener),
    proto_name: version === 3 ? 'MQIsdp' : 'MQTT',
    proto_ver: version,
    connected_at: openedAt,
  }
}

/** Of a listener such as `mqtt://127.0.0.1:1883`; 0 where there is none. */
function portOf(listener: string): number {
  return Number(/:(\d+)(\/|$)/.exec(listener)?.[1] ?? 0)
}
