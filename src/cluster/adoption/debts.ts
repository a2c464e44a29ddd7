/**
 * What is owed to a node that is down goes to the one that has its sessions, each message marked as one for these. It is in
 * the store of this node all the time: as a hint for the one, then for the other. What was for members of groups there goes to
 * a member, wherever one is now.
 */

import type { Logger } from 'pino'
import type { NodeLife } from '../../broker/estate-port.js'
import type { ForwardedSink, NodeId, PendingPublish } from '../../broker/ports.js'
import type { Message } from '../../mqtt/wire/message.js'
import type { GroupTargets } from '../../router/group-targets.js'
import { asError } from '../../util/errors.js'
import { BatchAssembler, type BatchReader } from '../batch.js'
import { inheritedHead, markOf, passedOnHead } from '../entry-extension.js'
import type { Hint, HintsFor } from '../hints.js'
import type { ClusterMetrics } from '../metrics.js'
import type { Peer } from '../peer.js'
import { KnownBatches } from '../received-positions.js'

export interface DebtModules {
  readonly self: NodeId
  /** Of this node. */
  readonly incarnation: number
  readonly peers: ReadonlyMap<NodeId, Peer>
  readonly reader: BatchReader
  readonly sink: ForwardedSink
  /** To the session of that client alone, if it is here. */
  readonly deliverTo: (clientId: string, message: Message, pending: PendingPublish) => void
  readonly drops: Pick<ClusterMetrics['drops'], 'handoff_full' | 'peer_adopted'>
  readonly log: Logger
}

/** Hints that make whole entries; paid when whoever gets the messages has kept them. */
class Debt implements PendingPublish {
  private holds = 1

  constructor(
    private readonly owed: HintsFor,
    private readonly hints: readonly Hint[],
  ) {
    for (const { count } of hints) owed.promised += count
  }

  hold(): void {
    this.holds += 1
  }

  release(): void {
    this.holds -= 1
    if (this.holds > 0) return
    for (const hint of this.hints) {
      this.owed.promised -= hint.count
      this.owed.drop(hint)
    }
  }
}

/**
 * From here on the routes of the node that is down cost nothing, and its heir gets what comes.
 * @param positions what the node that is down has got, as it has kept it with its sessions
 * @returns how many messages it has not got
 */
export function handOn(dead: NodeLife, heir: NodeId, positions: Uint8Array | undefined, modules: DebtModules): number {
  const { self, incarnation, peers, reader, sink, deliverTo, log } = modules
  const peer = peers.get(dead.node)
  // A later life of it is there, and what this one was owed is on its way to that one.
  if (peer === undefined || peer.incarnation > dead.incarnation || !peer.exchange.kept.shelve()) return 0
  const owed = peer.exchange.kept.hints?.stored
  const known = new KnownBatches(positions)
  if (owed !== undefined) known.openHints(owed.since)
  let messages = 0
  const { custody } = peer.exchange
  const payGroups = (message: Message, targets: GroupTargets, debt: Debt, isOfThisLife: boolean): void => {
    for (let index = 0; index < targets.count; index += 1) {
      const isOthers = isOfThisLife && custody.isRecalled(targets.receipts[index] as number)
      const key = targets.keys[index] as string
      if (!isOthers && key !== '') sink.placeAgain(key, message, true, debt)
    }
  }
  const pay = (entries: Buffer, waited: number, debt: Debt, made: number): void => {
    if (markOf(entries) !== undefined) return
    reader.read(entries, waited, (message, targets) => {
      if (message.qos === 0) return
      messages += 1
      if (targets !== undefined) payGroups(message, targets, debt, made === incarnation)
      if (targets?.isOnly === true) return
      const { addressee } = reader
      if (addressee !== undefined) {
        // For the one session that had moved there, of whose move its heir knows nothing.
        const head = passedOnHead(message.publisherId, { ...addressee, move: 0 })
        if (heir === self) deliverTo(addressee.clientId, message, debt)
        else owe(heir, message, head, undefined, modules)
      } else if (heir === self) sink.deliverInherited(message, self, debt, dead.node)
      else owe(heir, message, inheritedHead(message.publisherId, dead.node), undefined, modules)
    })
  }
  for (const { hints, entries } of wholeEntries(owed, known)) {
    const debt = new Debt(owed as HintsFor, hints)
    try {
      const last = hints.at(-1)
      pay(entries, Math.max(0, Date.now() - (last?.madeAt ?? 0)), debt, last?.incarnation ?? 0)
    } catch (error) {
      log.error({ peer: dead.node, err: asError(error) }, 'what a node that is down is owed is not readable')
    }
    debt.release()
  }
  peer.exchange.passOnCustody()
  if (!peer.isLive) peer.exchange.mirror.clear()
  return messages
}

/** Owes a message to a peer from here on; counted when that cannot be. */
export function owe(
  to: NodeId,
  message: Message,
  head: Buffer,
  pending: PendingPublish | undefined,
  { peers, drops }: Pick<DebtModules, 'peers' | 'drops'>,
): void {
  const exchange = peers.get(to)?.exchange
  if (exchange === undefined) drops.peer_adopted.value += 1
  else if (!exchange.owe(message.frame(true, message.qos, message.retain), head, pending)) drops.handoff_full.value += 1
}

/**
 * Nobody is left who would get what that node is owed: its sessions are another's.
 * @returns how many messages these have not been handed, as when this node was out of reach while they were adopted
 */
export function writeOff(dead: NodeLife, peers: ReadonlyMap<NodeId, Peer>): number {
  const peer = peers.get(dead.node)
  if (peer === undefined || peer.isLive || peer.incarnation > dead.incarnation) return 0
  peer.exchange.mirror.clear()
  const { kept } = peer.exchange
  return Math.max(0, kept.settle() - (kept.hints?.stored.promised ?? 0))
}

interface WholeEntries {
  readonly hints: readonly Hint[]
  readonly entries: Buffer
}

/** What has not come to the node; what has is dropped. */
function* wholeEntries(owed: HintsFor | undefined, known: KnownBatches): Generator<WholeEntries> {
  const assembler = new BatchAssembler()
  let hints: Hint[] = []
  for (const hint of owed?.entries() ?? []) {
    if (known.has(hint)) {
      owed?.drop(hint)
      continue
    }
    hints.push(hint)
    const entries = assembler.add(hint.entries, hint.continued)
    if (entries === undefined) continue
    yield { hints, entries }
    hints = []
  }
}
