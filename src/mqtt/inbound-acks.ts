/**
 * The acknowledgements that this node owes a publisher. PUBACK and PUBREC leave in the order of the PUBLISH packets
 * they answer [MQTT-4.6.0-2] [MQTT-4.6.0-3], each only when its message is kept everywhere it has to be: by the
 * sessions here and by the peers it was forwarded to.
 */

import type { Hold, ReceivedQos2 } from './session/session.js'

/** Sends the acknowledgement of one PUBLISH; the connection, seen from here. */
export interface AckSender {
  sendPublishAck(ack: InboundAck): void
}

/** One PUBLISH of QoS 1 or 2 on its way to its acknowledgement. */
export class InboundAck implements Hold, ReceivedQos2 {
  /** Starts with one hold, the publish path's own. */
  private holds = 1
  private followers: Hold[] | undefined
  /** The reason code to answer with. */
  reasonCode = 0

  constructor(
    private readonly owner: InboundAcks,
    readonly packetId: number,
    readonly qos: 1 | 2,
  ) {}

  get isSettled(): boolean {
    return this.holds === 0
  }

  hold(): void {
    this.holds++
  }

  release(): void {
    this.holds--
    if (this.holds > 0) return
    const followers = this.followers
    if (followers !== undefined) {
      this.followers = undefined
      for (const follower of followers) follower.release()
    }
    this.owner.flush()
  }

  /** Makes the acknowledgement of a repeated QoS 2 PUBLISH wait for the one of the first. */
  addFollower(follower: Hold): void {
    if (this.isSettled) return
    follower.hold()
    this.followers ??= []
    this.followers.push(follower)
  }
}

export class InboundAcks {
  private entries: InboundAck[] = []
  private head = 0
  private isClosed = false

  constructor(private readonly sender: AckSender) {}

  /** Publishes whose acknowledgement is still owed. */
  get length(): number {
    return this.entries.length - this.head
  }

  begin(packetId: number, qos: 1 | 2): InboundAck {
    const ack = new InboundAck(this, packetId, qos)
    this.entries.push(ack)
    return ack
  }

  /** Sends every acknowledgement that is settled and has no unsettled one before it. */
  flush(): void {
    if (this.isClosed) return
    while (this.head < this.entries.length) {
      const ack = this.entries[this.head] as InboundAck
      if (!ack.isSettled) break
      this.head++
      this.sender.sendPublishAck(ack)
    }
    if (this.head === this.entries.length) {
      this.entries.length = 0
      this.head = 0
    } else if (this.head >= 64 && this.head * 2 >= this.entries.length) {
      this.entries = this.entries.slice(this.head)
      this.head = 0
    }
  }

  /** The connection has gone: nobody is left to be answered. */
  close(): void {
    this.isClosed = true
    this.entries = []
    this.head = 0
  }
}
