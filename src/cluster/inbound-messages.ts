/**
 * Messages that come from one incarnation of a peer: batches of both lanes are taken apart, and each message goes to the
 * sessions of this node, never to another link.
 */

import type { Logger } from 'pino'
import type { ForwardedSink, NodeId, PendingPublish, Receipts } from '../broker/ports.js'
import type { Message } from '../mqtt/wire/message.js'
import type { GroupTargets } from '../router/group-targets.js'
import { asError } from '../util/errors.js'
import { BatchAssembler, type BatchReader } from './batch.js'
import { type Addressee, markOf } from './entry-extension.js'
import { speaks } from './features.js'
import { InboundLane, type LanePosition, NO_POSITION } from './inbound-lane.js'
import type { PeerCounters } from './metrics.js'
import type { ReceivedPositions } from './received-positions.js'
import {
  asBuffer,
  type Batch,
  type BatchOrigin,
  decodeMark,
  type LinkBody,
  type Open,
  type TakeoverMark,
} from './wire.js'

/** Whom everything concerns that is not of the exchange itself: the client directory, sessions that move. */
export interface PeerDirectory {
  receive(from: NodeId, body: LinkBody): void
  routesTaken(from: NodeId): void
  /** @param isOfThisLife whether the peer meant the session as this life of the node knows it */
  takePassedOn(
    from: NodeId,
    addressee: Addressee,
    message: Message,
    pending: PendingPublish | undefined,
    isOfThisLife: boolean,
  ): void
}

export interface InboundModules {
  readonly sink: ForwardedSink
  readonly reader: BatchReader
  /** Incarnation of this node. */
  readonly incarnation: () => number
  /** How far this node has come in what peers send it. */
  readonly positions: ReceivedPositions
  readonly directory: PeerDirectory
  readonly counters: PeerCounters
  readonly log: Logger
}

export class InboundMessages {
  private currentLane: InboundLane
  private readonly looseAssembler = new BatchAssembler()
  /** The peer sends messages in the form of MQTT 3.1.1, too. */
  private takesShortEntries = false
  /** Of the peer. */
  private incarnation = 0
  private deliveredPending: PendingPublish | undefined
  /** What is delivered was made for other lives of the two nodes: it names groups that are others now. */
  private isFromOtherLife = false
  private isFromFormerSender = false

  /**
   * @param receipts what the peer keeps for members of groups here
   * @param onAckOwed the peer is to be told how far this node has come
   */
  constructor(
    private readonly peer: NodeId,
    private readonly modules: InboundModules,
    private readonly receipts: Receipts,
    private readonly onAckOwed: () => void,
  ) {
    this.currentLane = this.newLane(NO_POSITION)
  }

  /** Of QoS 1 and 2. */
  get lane(): InboundLane {
    return this.currentLane
  }

  /** The peer is known: it lives in this incarnation. */
  begin(incarnation: number): void {
    this.incarnation = incarnation
    const positions = this.modules.positions.of(this.peer)
    this.currentLane = positions.enter(incarnation, (position) => this.newLane(position))
  }

  /** What comes on this link is read from where the peer goes on. @param protocol version that both speak */
  listen(protocol: number, { hintsSince, firstSequence, shelvedSequence }: Open): void {
    const { positions, counters, log } = this.modules
    this.takesShortEntries = speaks(protocol, 'shortEntries')
    this.looseAssembler.clear()
    positions.of(this.peer).openHints(hintsSince ?? 0)
    const missing = this.currentLane.open(firstSequence, shelvedSequence)
    if (missing > 0) {
      counters.missingBatches += missing
      log.warn({ peer: this.peer, missing }, 'the peer could not keep all batches while the link was down')
    }
  }

  /** Of QoS 1 and 2, numbered. */
  takeKept(batch: Batch): void {
    this.count(batch)
    const { sequence, entries, continued, waited, origin, isQos1Only } = batch
    this.currentLane.receive(sequence, asBuffer(entries), continued, waited, origin, isQos1Only !== true)
  }

  /** Of QoS 0. */
  takeLoose(batch: Batch): void {
    this.count(batch)
    const whole = this.looseAssembler.add(asBuffer(batch.entries), batch.continued)
    if (whole !== undefined) this.deliver(whole, batch.waited, undefined)
  }

  private newLane(position: LanePosition): InboundLane {
    const { positions } = this.modules
    return new InboundLane(
      {
        deliver: (entries, waitedMs, pending, origin) => this.deliver(entries, waitedMs, pending, origin),
        onAckOwed: this.onAckOwed,
        onKeeping: () => positions.changed(this.peer),
        findEarlier: (origin) => positions.of(this.peer).findEarlier(origin),
        onHintLost: (hint) => positions.of(this.peer).lose(hint),
      },
      position,
    )
  }

  private count({ entries }: Batch): void {
    this.modules.counters.batchesReceived += 1
    this.modules.counters.batchBytesReceived += entries.length
  }

  private deliver(entries: Buffer, waitedMs: number, pending: PendingPublish | undefined, origin?: BatchOrigin): void {
    this.deliveredPending = pending
    this.isFromOtherLife = origin !== undefined && !this.isOfThisLife(origin)
    this.isFromFormerSender =
      origin !== undefined && origin.incarnation !== 0 && origin.incarnation !== this.incarnation
    try {
      const mark = markOf(entries)
      if (mark === undefined) this.modules.reader.read(entries, waitedMs, this.onMessage, this.takesShortEntries)
      else this.takeMark(decodeMark(mark))
    } catch (error) {
      this.modules.counters.malformedBatches += 1
      this.modules.log.error({ peer: this.peer, err: asError(error) }, 'forwarded batch could not be delivered whole')
    }
    this.deliveredPending = undefined
  }

  /**
   * A mark stands for its move whatever lives it was made for: who makes it may have heard of the move before it has a link to
   * this life of this node, be it that it knows the one before or none. Moves of other lives have other numbers. An
   * adoption, though, has ended with the lives that it was between.
   */
  private takeMark(mark: TakeoverMark): void {
    if (this.isFromOtherLife && mark.estate !== undefined) return
    this.modules.directory.receive(this.peer, { $case: 'takeoverMark', value: mark })
  }

  private isOfThisLife({ incarnation, receiver }: BatchOrigin): boolean {
    return receiver === this.modules.incarnation() && (incarnation === 0 || incarnation === this.incarnation)
  }

  /** Groups as other lives knew them are found by their filters; what another life of the sender had in custody is there no more. */
  private translate(groups: GroupTargets): void {
    for (let index = 0; index < groups.count; index += 1) {
      groups.ids[index] = 0
      if (this.isFromFormerSender) groups.receipts[index] = 0
    }
  }

  /** A field: it is called for each message of each batch. */
  private readonly onMessage = (message: Message, targets: GroupTargets | undefined): void => {
    this.modules.counters.messagesReceived += 1
    if (targets !== undefined && this.isFromOtherLife) this.translate(targets)
    try {
      const pending = message.qos === 0 ? undefined : this.deliveredPending
      const { estate, addressee } = this.modules.reader
      if (addressee !== undefined && estate === undefined)
        this.modules.directory.takePassedOn(this.peer, addressee, message, pending, !this.isFromOtherLife)
      else if (estate !== undefined) this.modules.sink.deliverInherited(message, this.peer, pending, estate)
      else this.modules.sink.deliverForwarded(message, this.peer, pending, targets, this.receipts)
    } catch (error) {
      // One message must not cost the others of its batch.
      this.modules.counters.failedDeliveries += 1
      this.modules.log.error({ peer: this.peer, err: asError(error) }, 'forwarded message could not be delivered')
    }
  }
}
