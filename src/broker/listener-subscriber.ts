/** A function of the embedding program as a subscriber: `aedes.subscribe(filter, listener)`. */

import type { AedesPublishPacket } from 'aedes'
import type { DeliveryOptions, Hold } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { Listener } from '../router/router.js'
import { toAedesPacket } from './aedes-packets.js'
import type { Subscriber } from './subscriber.js'

export class ListenerSubscriber implements Subscriber {
  private delivered = 0
  /** A program is always here, and says with `done` when it takes more. */
  readonly isAttached = true
  readonly isBusy = false

  constructor(
    private readonly listener: Listener<AedesPublishPacket>,
    private readonly brokerId: string,
  ) {}

  /** For QoS 1 and 2 the publisher is answered only after the listener has called `done`. */
  deliver(message: Message, _delivery: DeliveryOptions, pending: Hold | undefined): void {
    // The listener may keep the packet, and a slice of the received chunk must not outlive its turn.
    const packet = toAedesPacket(message.detach(), this.brokerId, ++this.delivered)
    pending?.hold()
    let isDone = false
    this.listener(packet, () => {
      if (isDone) return
      isDone = true
      pending?.release()
    })
  }
}
