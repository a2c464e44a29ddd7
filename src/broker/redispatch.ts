/**
 * Members of shared subscriptions come and go: the groups are told, and messages that a member had not acknowledged
 * when it left go to another [MQTT 5.0 section 4.8.2]. A QoS 2 message that was sent once stays with its session.
 */

import type { Session, SharedMessage } from '../mqtt/session/session.js'
import { SharedGroup } from '../router/shared-group.js'
import type { SharedGroups } from '../router/shared-groups.js'
import { ANSWERED } from './group-delivery.js'
import type { BrokerMetrics } from './metrics.js'
import type { Publisher } from './publish.js'
import type { Subscriber } from './subscriber.js'

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
    const mayLeave = (group: object): boolean => this.nowOf(group)?.isServed === true
    this.deliver(session.takeShared(mayLeave))
  }

  /**
   * The session ends and is a member no more: also a member that is away may have what it leaves.
   * @param isOutdated its client has it at another node, with what it had been given on its way there
   */
  sessionEnding(session: Session, isOutdated: boolean): void {
    const messages = session.takeShared(() => true)
    if (isOutdated) this.deliver(messages.filter((one) => !this.isGiven(session, one)))
    else this.deliver(messages)
  }

  /** One of QoS 2 must not come to another member as well. */
  private isGiven({ givenUpTo }: Session, { message, share, place }: SharedMessage): boolean {
    const isGiven = message.qos === 2 && place !== 0 && place <= givenUpTo
    if (isGiven) share.settle()
    return isGiven
  }

  private deliver(messages: readonly SharedMessage[]): void {
    for (const { message, share } of messages) {
      const group = this.nowOf(share.group)
      message.isAged = true
      if (this.modules.publisher.isPast(message)) {
        share.settle()
      } else if (group === undefined) {
        this.modules.metrics.unplaced.value++
        share.settle()
      } else {
        this.modules.metrics.redispatched.value++
        this.modules.publisher.groupDelivery.place(group, message, ANSWERED, { share })
      }
    }
  }

  /** The group may have ended and begun anew since the message came. */
  private nowOf(group: object): SharedGroup<Subscriber> | undefined {
    return group instanceof SharedGroup ? this.modules.groups.get(group.key) : undefined
  }
}
