/**
 * What a node that is down has owed others: messages of QoS 2 that were on their way when it ended, and all that it has kept for
 * nodes which were down. Its heir sends them, each once: who was owed says how far it had come.
 */

import type { Logger } from 'pino'
import type { Estate, KeptPart } from '../../broker/estate-port.js'
import type { NodeId, PendingPublish } from '../../broker/ports.js'
import type { Message } from '../../mqtt/wire/message.js'
import type { GroupTargets } from '../../router/group-targets.js'
import { Deferred } from '../../util/deferred.js'
import { asError } from '../../util/errors.js'
import { BatchAssembler } from '../batch.js'
import { EntryHeads, inheritedHead, markOf, passedOnHead } from '../entry-extension.js'
import { type Hint, placeOf, type StoredRow } from '../hints.js'
import { KnownBatches } from '../received-positions.js'
import { decodeHint } from '../stored-hint.js'
import { type DebtModules, owe } from './debts.js'

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

/** The number of its last hint. */
export function lastOf({ hints }: Bequest): number {
  return hints.at(-1)?.number ?? 0
}

/** @param receiver the only one that is asked for; all unless given. @throws Error when the store does not answer */
export async function readBequests(part: KeptPart, log: Logger, receiver?: NodeId): Promise<Bequest[]> {
  const byRow = new Map<number, { readonly receiver: NodeId; readonly since: number; readonly hints: Hint[] }>()
  for await (const [name, value] of part.table('hint-receivers')) {
    const { row, since } = JSON.parse(value.toString()) as StoredRow
    if (receiver === undefined || name === receiver) byRow.set(row, { receiver: name, since, hints: [] })
  }
  if (byRow.size === 0) return []
  for await (const [place, value] of part.shelf('hints')) {
    const { row, number } = placeOf(place)
    try {
      byRow.get(row)?.hints.push(decodeHint(number, Buffer.from(value)))
    } catch (error) {
      log.error({ peer: part.node, err: asError(error) }, 'what a node that is down has kept is not readable')
    }
  }
  const owed = [...byRow.values()].filter(({ hints }) => hints.length > 0)
  for (const { hints } of owed) hints.sort((a, b) => a.number - b.number)
  return owed.map((one) => ({ node: part.node, ...one }))
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

/** What of a bequest goes on. */
export interface BequestShare {
  /** What is for members of groups at the receiver: to a member, wherever one is. */
  readonly groups: boolean
  /** What is for its sessions, of the hints behind this one; Infinity: nothing. */
  readonly plainFrom: number
}

export const WHOLE_BEQUEST: BequestShare = { groups: true, plainFrom: 0 }

/**
 * Resolves when it has come, or is in the store of this node as what the receiver is owed.
 * @param positions how far the receiver had come; undefined when that is not known
 * @returns how many messages it had not got
 */
export async function sendOn(
  bequest: Bequest,
  positions: Uint8Array | undefined,
  share: BequestShare,
  modules: DebtModules,
): Promise<number> {
  const { self, reader, sink, deliverTo, log } = modules
  const { node, receiver } = bequest
  const heads = new EntryHeads()
  const sending = new Sending()
  let messages = 0
  const headOf = ({ publisherId }: Message): Buffer => {
    const { estate, addressee } = reader
    if (addressee !== undefined) return passedOnHead(publisherId, { ...addressee, move: 0 })
    return estate === undefined ? heads.headOf(publisherId) : inheritedHead(publisherId, estate)
  }
  forEachOwed(bequest, positions, { reader, log }, (message, targets, number) => {
    const { estate, addressee } = reader
    if (share.groups) {
      // Nobody else gives it to members: what the node had in custody has ended with it.
      for (let index = 0; index < (targets?.count ?? 0); index += 1) {
        const key = targets?.keys[index]
        if (key !== undefined && key !== '') sink.placeAgain(key, message, true, sending)
      }
    }
    if (targets?.isOnly === true || number <= share.plainFrom) return
    messages += 1
    if (receiver !== self) {
      owe(receiver, message, headOf(message), sending, modules)
    } else if (addressee !== undefined) deliverTo(addressee.clientId, message, sending)
    else if (estate === undefined) sink.deliverForwarded(message, node, sending, undefined)
    else sink.deliverInherited(message, node, sending, estate)
  })
  sending.release()
  const timer = setTimeout(() => sending.sent.resolve(), SENT_WITHIN_MS)
  await sending.sent.promise
  clearTimeout(timer)
  return messages
}

/**
 * Gives what a node that is down has owed another, which is down as well, to the sessions of that one that are arriving here.
 * @param positions how far these had come
 * @returns how many messages they had not got
 */
export function deliverDebts(
  bequest: Bequest,
  positions: Uint8Array | undefined,
  { reader, sink, deliverTo, log }: Pick<DebtModules, 'reader' | 'sink' | 'deliverTo' | 'log'>,
): number {
  const { node, receiver } = bequest
  const sending = new Sending()
  let messages = 0
  forEachOwed(bequest, positions, { reader, log }, (message, targets) => {
    const { estate, addressee } = reader
    // What it handed on of its debts to a third one is still among these, until the sessions of that one have it.
    if (targets?.isOnly === true || estate !== undefined) return
    messages += 1
    if (addressee !== undefined) deliverTo(addressee.clientId, message, sending)
    else sink.deliverInherited(message, node, sending, receiver)
  })
  sending.release()
  return messages
}

/** How many messages for sessions there are behind that hint which the receiver may not have. */
export function countOwed(
  bequest: Bequest,
  positions: Uint8Array | undefined,
  plainFrom: number,
  modules: Pick<DebtModules, 'reader' | 'log'>,
): number {
  let messages = 0
  forEachOwed(bequest, positions, modules, (_message, targets, number) => {
    if (targets?.isOnly !== true && number > plainFrom) messages += 1
  })
  return messages
}

/** @param visit gets the number of the hint in which the message ends, too */
function forEachOwed(
  { node, since, hints }: Bequest,
  positions: Uint8Array | undefined,
  { reader, log }: Pick<DebtModules, 'reader' | 'log'>,
  visit: (message: Message, targets: GroupTargets | undefined, number: number) => void,
): void {
  const known = new KnownBatches(positions)
  known.openHints(since)
  const assembler = new BatchAssembler()
  for (const hint of hints) {
    if (known.has(hint)) continue
    try {
      const entries = assembler.add(hint.entries, hint.continued)
      if (entries === undefined || markOf(entries) !== undefined) continue
      reader.read(entries, Math.max(0, Date.now() - hint.madeAt), (message, targets) => {
        if (message.qos > 0) visit(message, targets, hint.number)
      })
    } catch (error) {
      log.error({ peer: node, err: asError(error) }, 'what a node that is down has owed is not readable')
    }
  }
}
