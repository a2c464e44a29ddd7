/**
 * The QoS 2 packet ids that a client has sent and not yet released: a PUBLISH whose id is here has been taken
 * already and must not be delivered again. [MQTT-4.3.3-10]
 */

import type { Keeping } from './back-pressure.js'

/** A received QoS 2 message, as remembered until PUBREL. */
export interface ReceivedQos2 {
  /** Whether PUBREC may be (or has been) sent: the message is kept. */
  readonly isSettled: boolean
  /** It could not be kept. When it comes again it is refused again; before MQTT 5, where nobody can be told, it is a new one. */
  readonly isRefused: boolean
  /** Settles `follower` when this message is kept. */
  addFollower(follower: Keeping): void
}

export class InboundQos2<T> {
  private readonly received = new Map<number, T>()

  get size(): number {
    return this.received.size
  }

  /** What was remembered with the id when it was first received; undefined for a new id. */
  get(packetId: number): T | undefined {
    return this.received.get(packetId)
  }

  entries(): IterableIterator<[number, T]> {
    return this.received.entries()
  }

  add(packetId: number, value: T): void {
    this.received.set(packetId, value)
  }

  /** PUBREL: the id is free again. False when it was not known. */
  release(packetId: number): boolean {
    return this.received.delete(packetId)
  }
}
