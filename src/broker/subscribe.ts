/** SUBSCRIBE and UNSUBSCRIBE against the local subscription table, and the retained messages that follow. */

import type { Subscription as AedesSubscription } from 'aedes'
import type { MqttOptions } from '../config/options.js'
import { subscriptionProblem, topicLimitProblem } from '../mqtt/capabilities.js'
import type { Grant } from '../mqtt/host.js'
import type { Session } from '../mqtt/session/session.js'
import type { Message } from '../mqtt/wire/message.js'
import type { QoS, SubscriptionOptions, SubscriptionRequest } from '../mqtt/wire/packets.js'
import { MqttError, ReasonCode } from '../mqtt/wire/reason-codes.js'
import { isShared, parseShared, topicFilterProblem } from '../mqtt/wire/topic.js'
import type { SharedGroups } from '../router/shared-groups.js'
import type { SubscriptionTable } from '../router/subscription-table.js'
import type { RetainedMessages } from './retained.js'
import type { Subscriber } from './subscriber.js'
import type { SysTopics } from './sys/sys-topics.js'

/** Asks the embedding program; `done` gets the subscription to make, or undefined for a refusal. */
export type SubscribeGuard = (
  subscription: AedesSubscription,
  done: (granted: AedesSubscription | undefined) => void,
) => void

/** What a client gets in the place of a message: the same, another one, or undefined for nothing. */
export type MessageReview = (message: Message) => Message | undefined

export interface SubscriberModules {
  readonly subscriptions: SubscriptionTable<Subscriber>
  readonly groups: SharedGroups<Subscriber>
  readonly retained: RetainedMessages
  /** What the broker tells of itself; undefined when it tells nothing. */
  readonly sys: SysTopics | undefined
}

export class SubscriptionDesk {
  constructor(
    private readonly options: MqttOptions,
    private readonly modules: SubscriberModules,
  ) {}

  /** Makes the subscriptions one after the other, in their order; `done` gets what became of each. */
  subscribe(
    session: Session,
    requests: readonly SubscriptionRequest[],
    guard: SubscribeGuard,
    done: (granted: readonly Grant[]) => void,
  ): void {
    const granted: Grant[] = []
    // A loop while the guard answers at once, so that a thousand filters are not a thousand nested calls.
    let isLooping = false
    let index = 0
    const advance = (): void => {
      if (isLooping) return
      isLooping = true
      while (granted.length === index) {
        const request = requests[index]
        if (request === undefined) {
          done(granted)
          return
        }
        index++
        this.subscribeOne(session, request, guard, (grant) => {
          granted.push(grant)
          advance()
        })
      }
      isLooping = false
    }
    advance()
  }

  /** Asks again about the subscriptions of a session whose client is back, and ends those that are refused now. */
  review(session: Session, guard: SubscribeGuard, done: () => void): void {
    const requests = Array.from(session.subscriptions, ([topicFilter, options]) => ({ topicFilter, options }))
    this.subscribe(session, requests, guard, (granted) => {
      const refused = requests.filter((_, index) => (granted[index]?.reasonCode ?? 0) >= ReasonCode.UnspecifiedError)
      this.unsubscribe(
        session,
        refused.map(({ topicFilter }) => topicFilter),
      )
      done()
    })
  }

  /** Reason codes of UNSUBACK. [MQTT-3.11.3-2] */
  unsubscribe(session: Session, topicFilters: readonly string[]): number[] {
    return topicFilters.map((filter) => {
      if (topicFilterProblem(filter) !== undefined) return ReasonCode.TopicFilterInvalid
      if (!session.removeSubscription(filter)) return ReasonCode.NoSubscriptionExisted
      this.tableOf(filter).unsubscribe(session, filter) // [MQTT-3.10.4-2]
      return ReasonCode.Success
    })
  }

  /** A subscription that the session had already, on another node: it was allowed there, and is now in force here. */
  restore(session: Session, filter: string, options: SubscriptionOptions): void {
    session.addSubscription(filter, options)
    this.tableOf(filter).subscribe(session, filter, options)
  }

  /** Somebody else is to see what comes for the subscriptions of a session, shared ones aside: each of those is one member's. */
  follow(follower: Subscriber, subscriptions: ReadonlyMap<string, SubscriptionOptions>): void {
    for (const [filter, options] of subscriptions) {
      if (!isShared(filter)) this.modules.subscriptions.subscribe(follower, filter, options)
    }
  }

  /** @param subscriptions as they were when it began to follow */
  unfollow(follower: Subscriber, subscriptions: ReadonlyMap<string, SubscriptionOptions>): void {
    for (const filter of subscriptions.keys()) {
      if (!isShared(filter)) this.modules.subscriptions.unsubscribe(follower, filter)
    }
  }

  /** Sends the retained messages of a filter once more: how far another node had come with them is not known. */
  resumeRetained(session: Session, topicFilter: string): void {
    const options = session.subscriptions.get(topicFilter)
    if (options === undefined) return
    this.sendRetained(session, { topicFilter, reasonCode: options.qos, options, isNew: true })
  }

  /** All subscriptions of a session that ends. */
  unsubscribeAll(session: Session): void {
    for (const filter of session.subscriptions.keys()) this.tableOf(filter).unsubscribe(session, filter)
  }

  /** [MQTT-3.3.1-9] to [MQTT-3.3.1-11]: what the subscription's Retain Handling asks for. */
  sendRetained(session: Session, { topicFilter, options, isNew }: Grant, review?: MessageReview): void {
    // A shared subscription gets none, whatever it asks for. [MQTT 5.0 section 4.8.2]
    if (isShared(topicFilter)) return
    // Taken back while the cluster was told of it. [MQTT-3.10.4-1]
    if (!session.subscriptions.has(topicFilter)) return
    if (options.retainHandling === 2 || (options.retainHandling === 1 && !isNew)) return
    const own = this.modules.sys?.matching(topicFilter)
    if (own === undefined && this.modules.retained.size === 0) return
    const subscriptionIds = options.subscriptionId === undefined ? undefined : [options.subscriptionId]
    const { qos, noLocal, retainAsPublished } = options
    const delivery = { qos, noLocal, retainAsPublished, subscriptionIds }
    // Clients cannot publish what is told here, so it is not among what they retained.
    const matching = own ?? this.modules.retained.matching(topicFilter)
    session.feedRetained(topicFilter, review === undefined ? matching : reviewed(matching, review), delivery)
  }

  private subscribeOne(
    session: Session,
    request: SubscriptionRequest,
    guard: SubscribeGuard,
    done: (grant: Grant) => void,
  ): void {
    const { options: requested } = request
    let { topicFilter } = request
    const refuse = (reasonCode: number, reason: string): void => {
      done({ topicFilter, reasonCode, reason, options: requested, isNew: false })
    }
    const problem = this.problemOf(session, request)
    if (problem !== undefined) return refuse(problem.reasonCode, problem.message)
    const { qos, noLocal, retainAsPublished, retainHandling } = requested
    guard({ topic: topicFilter, qos, nl: noLocal, rap: retainAsPublished, rh: retainHandling }, (allowed) => {
      if (session.isEnded) return refuse(ReasonCode.UnspecifiedError, 'the session has ended')
      if (allowed === undefined) return refuse(ReasonCode.NotAuthorized, 'not authorized')
      if (allowed.topic !== topicFilter) {
        topicFilter = allowed.topic
        const fault = this.problemOf(session, { ...request, topicFilter })
        if (fault !== undefined) return refuse(fault.reasonCode, fault.message)
      }
      // [MQTT-3.2.2-9], [MQTT-3.2.2-10]
      const granted = Math.min(allowed.qos, qos, this.options.maximumQos) as QoS
      const options: SubscriptionOptions = { ...requested, qos: granted }
      session.addSubscription(topicFilter, options)
      // The same filter again replaces the options. [MQTT-3.8.4-3]
      const isNew = this.tableOf(topicFilter).subscribe(session, topicFilter, options)
      done({ topicFilter, reasonCode: options.qos, options, isNew })
    })
  }

  private problemOf(session: Session, request: SubscriptionRequest): MqttError | undefined {
    const { topicFilter } = request
    const { maximumSubscriptions } = this.options
    const matched = parseShared(topicFilter)?.filter ?? topicFilter
    const problem = topicFilterProblem(topicFilter) ?? topicLimitProblem(matched, this.options)
    if (problem !== undefined) return new MqttError(ReasonCode.TopicFilterInvalid, problem)
    const unavailable = subscriptionProblem(request, this.options)
    if (unavailable !== undefined) return unavailable
    if (session.subscriptionCount < maximumSubscriptions || session.subscriptions.has(topicFilter)) return undefined
    return new MqttError(ReasonCode.QuotaExceeded, `no more than ${maximumSubscriptions} subscriptions`)
  }

  private tableOf(filter: string): SubscriptionTable<Subscriber> | SharedGroups<Subscriber> {
    return isShared(filter) ? this.modules.groups : this.modules.subscriptions
  }
}

function* reviewed(
  messages: Iterator<Message | undefined>,
  review: MessageReview,
): Generator<Message | undefined, void, undefined> {
  for (let next = messages.next(); next.done !== true; next = messages.next()) {
    yield next.value === undefined ? undefined : review(next.value)
  }
}
