/**
 * `$SYS`: what the broker tells about itself. On a timer each topic that somebody subscribes to is read and published;
 * of the others nothing is computed but peaks and load averages, a few dozen additions. Nothing is retained: a new
 * subscriber gets the values of this moment, marked as retained messages.
 */

import type { SysOptions } from '../../config/options.js'
import type { ClientEvent } from '../../config/sys-options.js'
import type { CloseReason } from '../../mqtt/close-reason.js'
import type { Connection } from '../../mqtt/connection.js'
import type { Grant } from '../../mqtt/host.js'
import { Message } from '../../mqtt/wire/message.js'
import { ReasonCode } from '../../mqtt/wire/reason-codes.js'
import { topicNameProblem } from '../../mqtt/wire/topic.js'
import { FilterMap } from '../../router/filter-map.js'
import { TimerEntry, type TimerWheel } from '../../util/timer-wheel.js'
import type { BrokerMetrics } from '../metrics.js'
import type { Publisher } from '../publish.js'
import { brokerTopics, loadAverages } from './broker-topics.js'
import {
  connectedPayload,
  disconnectedPayload,
  eventTopic,
  subscribedPayload,
  unsubscribedPayload,
} from './client-events.js'
import type { LoadAverages } from './load-averages.js'
import { nodePrefix, nodeTopics, type StatisticName } from './node-topics.js'
import { Peaks } from './peaks.js'
import type { SysSource, SysTopic } from './sys-topic.js'

const FIRST_LEVEL = '$SYS'

export interface SysTopicsModules {
  /** The name of this node. */
  readonly node: string
  readonly source: SysSource
  readonly metrics: BrokerMetrics
  readonly publisher: Publisher
  readonly timers: TimerWheel
}

export class SysTopics extends TimerEntry {
  private readonly topics: readonly SysTopic[]
  private readonly peaks: Peaks<StatisticName>
  private readonly loads: LoadAverages
  private readonly events: ReadonlySet<string>
  private readonly prefix: string

  constructor(
    private readonly options: SysOptions,
    private readonly modules: SysTopicsModules,
  ) {
    super()
    const { node, source, metrics } = modules
    this.prefix = nodePrefix(node)
    this.events = new Set(options.clientEvents)
    this.peaks = new Peaks<StatisticName>({
      connections: () => source.connections(),
      sessions: () => source.sessions(),
      topics: () => source.topics(),
      subscriptions: () => source.subscriptions(),
      'subscriptions/shared': () => source.sharedSubscriptions(),
      retained: () => source.retainedMessages(),
      delayed: () => source.delayedMessages(),
    })
    this.loads = loadAverages(metrics)
    this.topics = [
      ...(options.brokers ? nodeTopics(node, source, this.peaks, metrics) : []),
      ...(options.broker ? brokerTopics(source, this.peaks, this.loads, metrics) : []),
    ]
  }

  start(): void {
    if (this.topics.length > 0) this.modules.timers.schedule(this, this.options.interval)
  }

  stop(): void {
    this.modules.timers.cancel(this)
  }

  override onTimeout(): void {
    this.modules.timers.schedule(this, this.options.interval)
    this.peaks.lookAtAll()
    this.loads.update()
    for (const { topic, isLocal, read } of this.topics) this.modules.publisher.publishOwn(topic, isLocal, read)
  }

  /** The present values, for a new subscription; undefined when its filter matches none. */
  matching(topicFilter: string): Iterator<Message> | undefined {
    if (topicFilter !== FIRST_LEVEL && !topicFilter.startsWith(`${FIRST_LEVEL}/`)) return undefined
    const filter = new FilterMap<string>()
    filter.set(topicFilter, topicFilter)
    const found: string[] = []
    const topics = this.topics.filter(({ topic }) => {
      found.length = 0
      filter.matchInto(topic, found)
      return found.length > 0
    })
    return topics.length === 0 ? undefined : messagesOf(topics)
  }

  clientConnected(connection: Connection, cleanStart: boolean): void {
    this.peaks.look('connections')
    this.tell('connected', connection, () => connectedPayload(connection, cleanStart))
  }

  clientDisconnected(connection: Connection, reason: CloseReason): void {
    this.tell('disconnected', connection, () => disconnectedPayload(connection, reason))
  }

  clientSubscribed(connection: Connection, granted: readonly Grant[]): void {
    if (!this.events.has('subscribed')) return
    for (const grant of granted) {
      if (grant.reasonCode >= ReasonCode.UnspecifiedError) continue
      this.tell('subscribed', connection, () => subscribedPayload(connection, grant))
    }
  }

  /** @param reasonCodes of UNSUBACK, one for each filter */
  clientUnsubscribed(connection: Connection, topicFilters: readonly string[], reasonCodes: readonly number[]): void {
    if (!this.events.has('unsubscribed')) return
    for (const [index, topicFilter] of topicFilters.entries()) {
      if (reasonCodes[index] !== ReasonCode.Success) continue
      this.tell('unsubscribed', connection, () => unsubscribedPayload(connection, topicFilter))
    }
  }

  private tell(event: ClientEvent, connection: Connection, payload: () => string): void {
    if (!this.events.has(event)) return
    const topic = eventTopic(this.prefix, connection.clientId, event)
    // With client IDs of tens of thousands of bytes it may be too long for a topic name.
    if (topicNameProblem(topic) === undefined) this.modules.publisher.publishOwn(topic, false, payload)
  }
}

/** One by one, as the client takes them: each with the value of its moment. */
function* messagesOf(topics: readonly SysTopic[]): Generator<Message> {
  for (const { topic, read } of topics) yield Message.from(topic, Buffer.from(read()), { retain: true })
}
