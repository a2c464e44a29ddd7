/**
 * Who has which messages for groups of shared subscriptions in custody, between this node and one incarnation of a peer: what
 * this node keeps for members there, what the peer keeps for members here, and what both tell each other of it.
 */

import type { Logger } from 'pino'
import type { ForwardedSink, NodeId } from '../broker/ports.js'
import type { Message } from '../mqtt/wire/message.js'
import type { GroupTargets } from '../router/group-targets.js'
import { asError } from '../util/errors.js'
import { BatchAssembler, type BatchReader } from './batch.js'
import type { Custody } from './custody.js'
import { markOf } from './entry-extension.js'
import type { Hint } from './hints.js'
import type { Link } from './link.js'
import { Receipts } from './receipts.js'
import type { LinkBodyOf } from './wire.js'

export interface CustodyLedgerModules {
  readonly sink: ForwardedSink
  readonly reader: BatchReader
  /** Incarnation of this node. */
  readonly incarnation: () => number
  readonly log: Logger
}

export class CustodyLedger {
  /** What the peer has in its custody for members here. */
  readonly receipts: Receipts
  /** Receipts of the peer that came on this link; those confirmed to it. */
  private taken = 0
  private confirmed = 0

  /**
   * @param custody messages for members of the peer, until they are settled
   * @param onOwed the peer is to be told something; called often
   */
  constructor(
    private readonly peer: NodeId,
    private readonly custody: Custody,
    private readonly modules: CustodyLedgerModules,
    onOwed: () => void,
  ) {
    this.receipts = new Receipts(onOwed)
  }

  /** A link is up: the peer is told what it must not deliver any more, before any batch, which goes at the end of the turn. */
  open(link: Link): void {
    this.taken = 0
    this.confirmed = 0
    this.receipts.open()
    for (let receipts = this.custody.nextRecall(); receipts !== undefined; receipts = this.custody.nextRecall()) {
      link.send({ $case: 'groupRecall', value: { receipts } })
    }
  }

  /** What the peer has settled, or has on its disk. */
  take({ receipts, kept, unkept }: LinkBodyOf<'groupReceipts'>['value']): void {
    for (const receipt of receipts) this.custody.settle(receipt)
    for (const receipt of kept) this.custody.noteKept(receipt)
    for (const receipt of unkept) this.custody.noteUnkept(receipt)
    this.taken += receipts.length
  }

  /** What is settled here. */
  send(link: Link): void {
    for (let receipts = this.receipts.next(); receipts !== undefined; receipts = this.receipts.next()) {
      link.send(receipts)
    }
  }

  /** That the peer's receipts have come. */
  sendConfirmation(link: Link): void {
    if (this.taken <= this.confirmed) return
    this.confirmed = this.taken
    link.send({ $case: 'groupReceiptsAck', value: { count: this.taken } })
  }

  /** What the peer is owed from the store is another node's to send now, and to give to members. */
  disown(owed: Iterable<Hint>): void {
    const { reader, incarnation, log } = this.modules
    const assembler = new BatchAssembler()
    const settle = (_message: Message, targets: GroupTargets | undefined): void => {
      for (let index = 0; index < (targets?.count ?? 0); index += 1) {
        this.custody.settle(targets?.receipts[index] as number)
      }
    }
    try {
      for (const { entries, continued, incarnation: made } of owed) {
        const whole = assembler.add(entries, continued)
        // Receipts of a life before say nothing.
        if (whole !== undefined && made === incarnation() && markOf(whole) === undefined) reader.read(whole, 0, settle)
      }
    } catch (error) {
      log.error({ peer: this.peer, err: asError(error) }, 'what a peer is owed is not readable')
    }
  }

  /** The peer has ended, and what it has kept goes on, with it or elsewhere. */
  passOn(): void {
    this.custody.passOn((key, message) => this.modules.sink.placeAgain(key, message, true))
  }

  /**
   * Members of shared subscriptions elsewhere get what those of the peer have not settled.
   * @param isLast the peer does not come back
   */
  rescue(isLast: boolean): void {
    this.custody.rescue((key, message) => this.modules.sink.placeAgain(key, message, isLast), isLast)
  }
}
