/**
 * What was sent to the client at QoS 1 and 2 and is not acknowledged yet, in order of sending.
 * At most as many as the client's Receive Maximum allows [MQTT-3.3.4-9].
 */

import type { Message } from '../wire/message.js'
import type { QoS } from '../wire/packets.js'
import type { Share } from './delivery.js'
import { messageBytes } from './message-queue.js'
import { PacketIds } from './packet-ids.js'
import { PacketTable } from './packet-table.js'

/** One PUBLISH in flight. A class, as `Frame` is and for its reason. */
export class InFlight {
  /**
   * QoS 2: PUBREC has come, PUBREL is out; the message itself is not needed any more. The number says in which order
   * the PUBRECs came, 0 that none has.
   */
  releaseOrder = 0
  /** Whether it has been sent on the present connection, or will be once it is kept; after a resume it has not. */
  isSent = true
  /** The journal has what must be known of it before it is sent. */
  isKept = true
  /** It was sent before, on this connection or another: what is sent now is a duplicate. [MQTT-3.3.1-1] */
  wasSent = true

  /**
   * One that is sent now.
   * @param share by which it came, of a shared subscription
   * @param message undefined for a session that ends with its connection, since such a message is never sent again, and
   *   for one that is kept on disk, which reads it from its place when it has to be
   * @param bytes what the message counts for, here or on the disk; 0 for one that is never sent again
   * @param place in the journal of a session that is kept on disk; 0 in others, and once the message is not needed any more
   */
  constructor(
    readonly packetId: number,
    readonly qos: QoS,
    readonly retain: boolean,
    readonly subscriptionIds: readonly number[] | undefined,
    readonly share: Share | undefined,
    public message: Message | undefined,
    public bytes: number,
    public place: number,
  ) {}
}

/** A packet in flight that comes from elsewhere: another node, or the disk. */
export type RestoredInFlight = Omit<InFlight, 'isSent' | 'isKept' | 'wasSent' | 'place' | 'bytes'> & {
  readonly place?: number
  readonly bytes?: number
}

export class InFlightWindow {
  /** Of what goes into the window. */
  readonly packetIds = new PacketIds()
  private readonly entries = new PacketTable<InFlight>()
  /** Entries sent on the present connection; these count against the client's Receive Maximum. */
  private sentCount = 0
  private keptBytes = 0
  /** What a resumed connection has yet to send again, oldest first. */
  private unsent: InFlight[] = []
  private releases = 0

  get length(): number {
    return this.entries.size
  }

  get sent(): number {
    return this.sentCount
  }

  /** Of the messages that may have to be sent again. */
  get bytes(): number {
    return this.keptBytes
  }

  has(packetId: number): boolean {
    return this.entries.has(packetId)
  }

  get(packetId: number): InFlight | undefined {
    return this.entries.get(packetId)
  }

  add(entry: InFlight): void {
    this.entries.set(entry)
    this.keptBytes += entry.bytes
    this.sentCount++
  }

  /** Everything as it is now, in order of sending. */
  values(): InFlight[] {
    return this.entries.values()
  }

  /** Takes in what was in flight before, in order of sending; `rewind` makes it ready to be sent again. */
  restore(restored: RestoredInFlight): void {
    const { packetId, qos, retain, subscriptionIds, share, message } = restored
    const bytes = restored.bytes ?? (message === undefined ? 0 : messageBytes(message))
    const entry = new InFlight(packetId, qos, retain, subscriptionIds, share, message, bytes, restored.place ?? 0)
    entry.releaseOrder = restored.releaseOrder
    entry.isSent = false
    this.entries.set(entry)
    this.keptBytes += entry.bytes
    this.releases = Math.max(this.releases, entry.releaseOrder)
  }

  /** Takes out one of its entries: it is acknowledged, and its packet id is free. */
  remove(entry: InFlight): void {
    this.entries.delete(entry.packetId)
    if (entry.isSent) this.sentCount--
    this.keptBytes -= entry.bytes
  }

  /** Takes out the packets that are wanted, in order of sending. */
  extract(isWanted: (entry: InFlight) => boolean): InFlight[] {
    const wanted = this.entries.values().filter(isWanted)
    for (const entry of wanted) this.remove(entry)
    return wanted
  }

  /** QoS 2: the client has the message (PUBREC); from now on only its packet id is in flight. */
  release(entry: InFlight): void {
    this.keptBytes -= entry.bytes
    entry.message = undefined
    entry.bytes = 0
    if (entry.releaseOrder === 0) entry.releaseOrder = ++this.releases
  }

  /**
   * The connection has gone: all that is in flight has to be sent again on the next one [MQTT-4.4.0-1]. Messages keep
   * the order in which they were sent, and PUBRELs, behind them, that of their PUBRECs. [MQTT-4.6.0-1] [MQTT-4.6.0-4]
   */
  rewind(): void {
    this.sentCount = 0
    this.unsent = this.entries.values()
    for (const entry of this.unsent) entry.isSent = false
    if (this.releases > 0) this.unsent.sort((a, b) => a.releaseOrder - b.releaseOrder)
    this.unsent.reverse()
  }

  /** The next packet to send again, marked as sent; undefined when there is none. */
  takeUnsent(): InFlight | undefined {
    for (;;) {
      const entry = this.unsent.pop()
      if (entry === undefined) return undefined
      // The client may have acknowledged it already, from the connection before.
      if (this.entries.get(entry.packetId) !== entry) continue
      entry.isSent = true
      this.sentCount++
      return entry
    }
  }

  get hasUnsent(): boolean {
    return this.unsent.length > 0
  }
}
