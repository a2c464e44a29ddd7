/** What is owed to a node that is down goes to the one that has its sessions, each message marked as one for these. */

import type { NodeLife } from '../../broker/estate-port.js'
import type { ForwardedSink, NodeId, PendingPublish } from '../../broker/ports.js'
import type { BatchReader } from '../batch.js'
import { inheritedHead } from '../entry-extension.js'
import type { Peer } from '../peer.js'

/** Nobody waits for these messages, but a queue must take them as if somebody did. */
const ANSWERED: PendingPublish = { hold() {}, release() {} }

export interface DebtModules {
  readonly self: NodeId
  readonly peers: ReadonlyMap<NodeId, Peer>
  readonly reader: BatchReader
  readonly sink: ForwardedSink
}

/**
 * From here on the routes of the node that is down cost nothing, and its heir gets what comes.
 * @returns how many messages there were
 */
export function handOn(dead: NodeLife, heir: NodeId, { self, peers, reader, sink }: DebtModules): number {
  const peer = peers.get(dead.node)
  // Another life of it is there: what this one was owed is given up, or on its way to that one.
  if (peer === undefined || peer.incarnation !== dead.incarnation) return 0
  const to = peers.get(heir)
  let messages = 0
  for (const { entries, startedAt } of peer.exchange.kept.owed()) {
    reader.read(entries, Math.round(performance.now() - startedAt), (message, targets) => {
      // Those for groups of shared subscriptions are other members' by now.
      if (targets?.isOnly === true || message.qos === 0) return
      messages += 1
      if (heir === self) sink.deliverInherited(message, self, ANSWERED, dead.node)
      else
        to?.exchange.owe(
          message.frame(true, message.qos, message.retain),
          inheritedHead(message.publisherId, dead.node),
        )
    })
  }
  if (!peer.isLive) peer.exchange.mirror.clear()
  return messages
}
