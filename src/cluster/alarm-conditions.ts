/** What the cluster has to tell operators: peers that are down, links that flap or fill, views that differ. */

import type { AlarmCondition } from '../telemetry/alarms.js'
import type { Peer } from './peer.js'
import type { Views } from './views.js'

/** From this share of `cluster.linkBuffer` on a peer's buffer counts as full. */
const FULL_SHARE = 0.9

export interface AlarmSubjects {
  readonly peers: Iterable<Peer>
  readonly views: Views
  /** Bytes. */
  readonly linkBuffer: number
}

/** @param now of `performance.now` */
export function* alarmConditions({ peers, views, linkBuffer }: AlarmSubjects, now: number): Generator<AlarmCondition> {
  for (const peer of peers) yield* conditionsOf(peer, linkBuffer, now)
  for (const { peer, node, seen } of views.differing(now)) {
    const detail =
      seen === 'here'
        ? `${node} is up for this node and gone for ${peer}`
        : `${node} is gone for this node and up for ${peer}`
    yield { alarm: 'views_differ', subject: `${peer} on ${node}`, severity: 'critical', detail }
  }
}

function* conditionsOf(peer: Peer, linkBuffer: number, now: number): Generator<AlarmCondition> {
  const { name, state } = peer
  const { flapping } = peer.links
  const { bytes } = peer.exchange.kept
  if (state === 'down') {
    yield { alarm: 'peer_down', subject: name, severity: 'critical', detail: `${name} does not answer` }
  }
  if (flapping.isFlapping(now)) {
    const detail = `the link to ${name} came up ${flapping.recent(now)} times or more within a minute`
    yield { alarm: 'link_flapping', subject: name, severity: 'warning', detail }
  }
  if (bytes >= linkBuffer * FULL_SHARE) {
    const detail = `${bytes} bytes of QoS 1 and 2 messages wait for ${name}; cluster.linkBuffer is ${linkBuffer}`
    yield { alarm: 'link_buffer_full', subject: name, severity: 'critical', detail }
  }
}
