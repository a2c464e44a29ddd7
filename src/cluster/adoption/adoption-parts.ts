/** What adoptions are made of: the peers, the client directory and the store that all share, as an heir needs them. */

import type { Logger } from 'pino'
import { isShared } from '../../broker/estate-port.js'
import type { SessionMoves } from '../../broker/move-ports.js'
import type { ForwardedSink, NodeId } from '../../broker/ports.js'
import type { Store } from '../../broker/store-port.js'
import type { MetricRegistry } from '../../telemetry/registry.js'
import { BatchReader } from '../batch.js'
import type { ClientDirectory } from '../directory/directory.js'
import type { ClusterMetrics } from '../metrics.js'
import type { OwnNode } from '../own-node.js'
import type { Peers } from '../peers.js'
import type { ReceivedPositions } from '../received-positions.js'
import type { RouteLog } from '../route-log.js'
import { Adoptions } from './adoptions.js'
import { countOwed, deliverDebts, sendOn } from './bequests.js'
import { type DebtModules, handOn, writeOff } from './debts.js'
import { isGone, lostNodes } from './lost-nodes.js'
import { createAdoptionMetrics } from './metrics.js'

export interface AdoptionPartsModules {
  readonly self: NodeId
  readonly ownNode: OwnNode
  readonly peers: Peers
  readonly clients: ClientDirectory
  /** Sessions here. */
  readonly sessions: SessionMoves
  readonly sink: ForwardedSink
  /** Where this node keeps what it has; there are adoptions only if all nodes share it. */
  readonly store: Store | undefined
  /** Milliseconds from the moment that a node is found down. */
  readonly adoptAfter: number
  /** How far this node has come in what peers send it. */
  readonly positions: ReceivedPositions
  readonly routeLog: RouteLog
  /** Whether this node takes sessions: it is in its mesh, and goes on. */
  readonly isTaking: () => boolean
  readonly metrics: MetricRegistry
  /** Where messages are counted that get nowhere. */
  readonly drops: ClusterMetrics['drops']
  readonly log: Logger
}

/** Undefined where nodes do not share a store; the metrics are there all the same. */
export function createAdoptions(modules: AdoptionPartsModules): Adoptions | undefined {
  let adoptions: Adoptions | undefined
  const metrics = createAdoptionMetrics(modules.metrics, () => adoptions?.withheldNodes ?? 0)
  const { self, ownNode, peers, clients, sessions, sink, store, positions: received, routeLog, drops, log } = modules
  if (store === undefined || !isShared(store)) return undefined
  const { byName } = peers
  const reader = new BatchReader()
  const debtModules = (): DebtModules => ({
    ...{ self, incarnation: ownNode.incarnation },
    ...{ peers: byName, reader, drops, sink, log },
    deliverTo: (clientId, message, pending) => sessions.deliverTo(clientId, message, pending),
  })
  adoptions = new Adoptions({
    self,
    incarnation: () => ownNode.incarnation,
    store,
    adoptAfter: modules.adoptAfter,
    sessions,
    claim: (clientId, from, epoch, done) =>
      clients.claim(clientId, false, done, { onlyFrom: from, inheritedEpoch: epoch }),
    isHeirOf: (node) => clients.isHeirOf(node),
    isTaking: modules.isTaking,
    lost: () => lostNodes(peers),
    isGone: (life) => isGone(byName, life, ownNode.identity()),
    members: () => [self, ...byName.keys()],
    peers: () => peers.reachable(),
    send: (to, body) => peers.send(to, body),
    handOn: (dead, heir, positions) => handOn(dead, heir, positions, debtModules()),
    receivedFrom: (node) => received.read(node),
    sendOn: (bequest, positions, share) => sendOn(bequest, positions, share, debtModules()),
    giveUp: (bequest, positions, plainFrom) => {
      drops.peer_adopted.value += countOwed(bequest, positions, plainFrom, debtModules())
    },
    deliverDebts: (bequest, positions) => deliverDebts(bequest, positions, debtModules()),
    inheritWaiting: (values) => sink.inheritWaiting(values),
    onSettled: (dead) => {
      drops.peer_adopted.value += writeOff(dead, byName)
    },
    mark: (to, mark) => peers.mark(to, mark),
    routeVersion: () => routeLog.version,
    routeVersionOf: (peer) => peers.routeVersionOf(peer),
    onAdopted: () => store.checkLife(),
    metrics,
    log,
  })
  return adoptions
}
