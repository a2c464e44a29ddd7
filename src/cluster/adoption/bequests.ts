/**
 * What a node that is down has owed others: messages of QoS 2 that were on their way when it ended, and all that it has kept for
 * nodes which were down. Its heir sends them, each once: who was owed says how far it had come.
 */

import type { Logger } from 'pino'
import type { Estate } from '../../broker/estate-port.js'
import type { NodeId, PendingPublish } from '../../broker/ports.js'
import type { Message } from '../../mqtt/wire/message.js'
import { Deferred } from '../../util/deferred.js'
import { asError } from '../../util/errors.js'
import { BatchAssembler } from '../batch.js'
import { EntryHeads, inheritedHead, markOf, passedOnHead } from '../entry-extension.js'
import { type Hint, placeOf, type StoredRow } from '../hints.js'
import { KnownBatches } from '../received-positions.js'
import { decodeHint } from '../stored-hint.js'
import type { DebtModules } from './debts.js'

/** How long whoever is owed is waited for; what it has not got by then is in the store of this node. In milliseconds. */
const SENT_WITHIN_MS = 10_000

/** What one node is owed. */
export interface Bequest {
  /** The node that is down. */
  readonly node: NodeId
  readonly receiver: NodeId
  /** See `HintsFor.since`. */
  readonly since: number
  /** In the order of their numbers. */
  readonly hints: readonly Hint[]
}

/** @throws Error when the store does not answer */
export async function readBequests(estate: Estate, log: Logger): Promise<Bequest[]> {
  const byRow = new Map<number, { readonly receiver: NodeId; readonly since: number; readonly hints: Hint[] }>()
  for await (const [receiver, value] of estate.table('hint-receivers')) {
    const { row, since } = JSON.parse(value.toString()) as StoredRow
    byRow.set(row, { receiver, since, hints: [] })
  }
  for await (const [place, value] of estate.shelf('hints')) {
    const { row, number } = placeOf(place)
    try {
      byRow.get(row)?.hints.push(decodeHint(number, Buffer.from(value)))
    } catch (error) {
      log.error({ peer: estate.node, err: asError(error) }, 'what a node that is down has kept is not readable')
    }
  }
  const owed = [...byRow.values()].filter(({ hints }) => hints.length > 0)
  for (const { hints } of owed) hints.sort((a, b) => a.number - b.number)
  return owed.map((one) => ({ node: estate.node, ...one }))
}

/** What has waited there for members of groups, oldest first. @throws Error when the store does not answer */
export async function readWaiting(estate: Estate): Promise<Buffer[]> {
  const entries: [number, Buffer][] = []
  for await (const [number, value] of estate.shelf('group-messages')) entries.push([number, Buffer.from(value)])
  return entries.sort(([one], [other]) => one - other).map(([, value]) => value)
}

/** Until everyone has what it is owed. */
class Sending implements PendingPublish {
  readonly sent = new Deferred()
  private holds = 1

  hold(): void {
    this.holds += 1
  }

  release(): void {
    this.holds -= 1
    if (this.holds === 0) this.sent.resolve()
  }
}

/**
 * Resolves when it has come, or is in the store of this node as what the receiver is owed.
 * @param positions how far the receiver had come; undefined when that is not known
 * @returns how many messages it had not got
 */
export async function sendOn(
  { node, receiver, since, hints }: Bequest,
  positions: Uint8Array | undefined,
  { self, peers, reader, sink, deliverTo, log }: DebtModules,
): Promise<number> {
  const exchange = peers.get(receiver)?.exchange
  const known = new KnownBatches(positions)
  known.openHints(since)
  const assembler = new BatchAssembler()
  const heads = new EntryHeads()
  const sending = new Sending()
  let messages = 0
  const headOf = ({ publisherId }: Message): Buffer => {
    const { estate, addressee } = reader
    if (addressee !== undefined) return passedOnHead(publisherId, { ...addressee, move: 0 })
    return estate === undefined ? heads.headOf(publisherId) : inheritedHead(publisherId, estate)
  }
  const send = (entries: Buffer, waited: number): void => {
    if (markOf(entries) !== undefined) return
    reader.read(entries, waited, (message, targets) => {
      if (message.qos === 0) return
      const { estate, addressee } = reader
      // Nobody else gives it to members: what the node had in custody has ended with it.
      for (let index = 0; index < (targets?.count ?? 0); index += 1) {
        const key = targets?.keys[index]
        if (key !== undefined && key !== '') sink.placeAgain(key, message, true, sending)
      }
      if (targets?.isOnly === true) return
      messages += 1
      if (receiver !== self) {
        exchange?.owe(message.frame(true, message.qos, message.retain), headOf(message), sending)
      } else if (addressee !== undefined) deliverTo(addressee.clientId, message, sending)
      else if (estate === undefined) sink.deliverForwarded(message, node, sending, undefined)
      else sink.deliverInherited(message, node, sending, estate)
    })
  }
  for (const hint of hints) {
    if (known.has(hint)) continue
    try {
      const entries = assembler.add(hint.entries, hint.continued)
      if (entries !== undefined) send(entries, Math.max(0, Date.now() - hint.madeAt))
    } catch (error) {
      log.error({ peer: node, err: asError(error) }, 'what a node that is down has owed is not readable')
    }
  }
  sending.release()
  const timer = setTimeout(() => sending.sent.resolve(), SENT_WITHIN_MS)
  await sending.sent.promise
  clearTimeout(timer)
  return messages
}
