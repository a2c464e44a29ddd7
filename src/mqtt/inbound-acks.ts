/**
 * The acknowledgements that this node owes a publisher. PUBACK and PUBREC leave in the order of the PUBLISH packets
 * they answer [MQTT-4.6.0-2] [MQTT-4.6.0-3], each only when its message is kept everywhere it has to be: by the
 * sessions here and by the peers it was forwarded to.
 */

import { RingBuffer } from '../util/ring-buffer.js'
import { PUBLISH_REFUSAL_TEXTS } from './refusals.js'
import type { Keeping, ReceivedQos2 } from './session/session.js'
import { ReasonCode } from './wire/reason-codes.js'

/** Sends the acknowledgement of one PUBLISH; the connection, seen from here. */
export interface AckSender {
  sendPublishAck(ack: InboundAck): void
}

/** One PUBLISH of QoS 1 or 2 on its way to its acknowledgement. */
export class InboundAck implements Keeping, ReceivedQos2 {
  /** Starts with one hold, the publish path's own. */
  private holds = 1
  private followers: Keeping[] | undefined
  /** The reason code to answer with. */
  reasonCode = 0
  /** What an MQTT 5 client is told about a refusal. */
  reasonString: string | undefined
  /** The message cannot be kept: also a client that cannot be told a reason must not be told otherwise. */
  isRefused = false
  /** Of QoS 2: its packet id is kept in the store with the session. */
  isRemembered = false

  constructor(
    private owner: InboundAcks | undefined,
    readonly packetId: number,
    readonly qos: 1 | 2,
  ) {}

  /** Its connection has gone: a session that remembers this QoS 2 id must not keep the connection alive with it. */
  disown(): void {
    this.owner = undefined
  }

  get isSettled(): boolean {
    return this.holds === 0
  }

  hold(): void {
    this.holds++
  }

  refuse(): void {
    this.isRefused = true
    this.reasonCode = ReasonCode.ImplementationSpecificError
    this.reasonString = PUBLISH_REFUSAL_TEXTS.store_failing
    for (const follower of this.followers ?? []) follower.refuse()
  }

  release(): void {
    this.holds--
    if (this.holds > 0) return
    const followers = this.followers
    if (followers !== undefined) {
      this.followers = undefined
      for (const follower of followers) follower.release()
    }
    this.owner?.flush()
  }

  /** Makes the acknowledgement of a repeated QoS 2 PUBLISH wait for the one of the first. */
  addFollower(follower: Keeping): void {
    if (this.isSettled) return
    follower.hold()
    this.followers ??= []
    this.followers.push(follower)
  }
}

export class InboundAcks {
  // Bounded by the connection: it stops reading, or ends, at its Receive Maximum.
  private readonly entries = new RingBuffer<InboundAck>(Number.POSITIVE_INFINITY)
  private qos1Owed = 0

  constructor(private readonly sender: AckSender) {}

  /** Publishes whose acknowledgement is still owed. */
  get length(): number {
    return this.entries.length
  }

  /** Those of QoS 1; QoS 2 counts against the Receive Maximum until PUBCOMP, not only until PUBREC. */
  get qos1Count(): number {
    return this.qos1Owed
  }

  begin(packetId: number, qos: 1 | 2): InboundAck {
    const ack = new InboundAck(this, packetId, qos)
    this.entries.push(ack)
    if (qos === 1) this.qos1Owed++
    return ack
  }

  /** Sends every acknowledgement that is settled and has no unsettled one before it. */
  flush(): void {
    for (;;) {
      const ack = this.entries.peek()
      if (ack === undefined || !ack.isSettled) return
      this.entries.shift()
      if (ack.qos === 1) this.qos1Owed--
      ack.disown()
      this.sender.sendPublishAck(ack)
    }
  }

  /** The connection has gone: nobody is left to be answered. */
  close(): void {
    for (const ack of this.entries) ack.disown()
    this.entries.clear()
    this.qos1Owed = 0
  }
}
