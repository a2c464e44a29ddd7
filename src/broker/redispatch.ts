/**
 * Members of shared subscriptions come and go: the groups are told, and messages that a member had not acknowledged
 * when it left go to another [MQTT 5.0 section 4.8.2]. A QoS 2 message that was sent once stays with its session.
 */

import type { Hold, Session, SharedMessage } from '../mqtt/session/session.js'
import { SharedGroup } from '../router/shared-group.js'
import type { SharedGroups } from '../router/shared-groups.js'
import type { BrokerMetrics } from './metrics.js'
import type { Publisher } from './publish.js'
import type { Subscriber } from './subscriber.js'

/** Publishers of these messages were answered: nobody waits, but a queue must take them as if somebody did. */
const ANSWERED: Hold = { hold() {}, release() {} }

export interface RedispatchModules {
  readonly groups: SharedGroups<Subscriber>
  readonly publisher: Publisher
  readonly metrics: BrokerMetrics
}

export class Redispatch {
  constructor(private readonly modules: RedispatchModules) {}

  /** From now on the session's client is chosen before those that are away. */
  clientConnected(session: Session): void {
    this.modules.groups.refresh(session)
  }

  /** The session may wait for its client; what other members can have now does not wait with it. */
  clientDisconnected(session: Session): void {
    if (!this.modules.groups.refresh(session)) return
    const mayLeave = (share: object): boolean => this.groupOf(share)?.isServed === true
    this.deliver(session.takeShared(mayLeave))
  }

  /** The session ends and is a member no more: also a member that is away may have what it leaves. */
  sessionEnding(session: Session): void {
    this.deliver(session.takeShared((share) => this.groupOf(share) !== undefined))
  }

  private deliver(messages: readonly SharedMessage[]): void {
    for (const { message, share } of messages) {
      const group = this.groupOf(share)
      if (group === undefined) continue
      message.isAged = true
      if (this.modules.publisher.isPast(message)) continue
      this.modules.metrics.redispatched.value++
      this.modules.publisher.place(group, message, ANSWERED)
    }
  }

  /** The group may have ended and begun anew since the message came. */
  private groupOf(share: object): SharedGroup<Subscriber> | undefined {
    return share instanceof SharedGroup ? this.modules.groups.get(share.key) : undefined
  }
}
