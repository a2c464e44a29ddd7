/** A peer as operators see it. */

import type { NodeId } from '../router/route-table.js'
import type { BeatStatus } from './heartbeat.js'
import type { Link } from './link.js'
import type { PeerStateName } from './metrics.js'
import type { StopReason } from './peer-state.js'
import type { LinkState, NodeState, NodeStatus } from './status.js'

/** What a peer has said of itself last. */
export interface LastBeat {
  readonly status: BeatStatus
  /** Of `performance.now`. */
  readonly at: number
}

export interface DescribedPeer {
  readonly name: NodeId
  readonly state: PeerStateName
  /** 0 until it was reached. */
  readonly incarnation: number
  /** It counts as a member that is or may be there. */
  readonly isLive: boolean
  /** It takes clients. */
  readonly isTaking: boolean
  /** Version of ShoalMQ; '' until it was reached. */
  readonly software: string
  /** host:port; '' when only its name is known. */
  readonly address: string
  /** Routes of it that are known here. */
  readonly routes: number
  readonly link: Link | undefined
  readonly lastBeat: LastBeat | undefined
  /** Undefined while it has not stopped. */
  readonly stoppedReason: StopReason | undefined
}

const STATES: Record<PeerStateName, NodeState> = {
  joining: 'joining',
  up: 'running',
  suspect: 'suspect',
  down: 'stopped',
  left: 'stopped',
}

/** @param now of `performance.now` */
export function describePeer(peer: DescribedPeer, now: number): NodeStatus {
  const { state, link, lastBeat, stoppedReason } = peer
  const isRunning = state === 'up' || state === 'suspect'
  const rtt = link?.rtt
  return {
    name: peer.name,
    state: STATES[state],
    link: linkStateOf(peer),
    version: peer.software,
    incarnation: peer.incarnation,
    uptime: isRunning && lastBeat !== undefined ? uptimeOf(lastBeat, now) : 0,
    connections: isRunning ? (lastBeat?.status.connections ?? 0) : 0,
    routes: peer.routes,
    rtt: rtt === undefined ? null : Math.round(rtt * 1000) / 1000,
    address: peer.address,
    ...(link === undefined ? {} : { protocol: link.protocol }),
    ...(isRunning && !peer.isTaking ? { draining: true } : {}),
    ...(stoppedReason === undefined ? {} : { reason: stoppedReason }),
  }
}

/** Seconds. */
function uptimeOf({ status, at }: LastBeat, now: number): number {
  return Math.floor(status.uptime + (now - at) / 1000)
}

function linkStateOf({ link, isLive }: DescribedPeer): LinkState {
  if (link?.state === 'up' || link?.state === 'closing') return 'up'
  return isLive ? 'connecting' : 'down'
}
