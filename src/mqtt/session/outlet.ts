/** Where an attached session sends: its connection, seen from here. */

import type { Frame } from '../wire/message.js'

/** What a connection does for its session. */
export interface Outlet {
  readonly isV5: boolean
  /** The largest packet that the client accepts, in bytes [MQTT-3.1.2-24]. */
  readonly maximumPacketSize: number
  /** How many QoS 1 and 2 messages may be in flight to the client. */
  readonly sendMaximum: number
  /** The outbox is at its limit: QoS 0 is dropped. */
  readonly isFull: boolean
  /** The socket does not keep up: QoS 1 and 2 wait in the queue until the outlet calls `pump`. */
  readonly isCongested: boolean
  /** A message of QoS 0; `topic` is the one in the frame. */
  sendFrame(frame: Frame, topic: string): void
  sendPublish(frame: Frame, packetId: number, duplicate: boolean, topic: string): void
  sendPubrel(packetId: number): void
  /** Of a message that the client has published. */
  sendPubcomp(packetId: number, reasonCode: number): void
  /** Calls `pump` again at the end of this event-loop turn. */
  pumpLater(): void
}
