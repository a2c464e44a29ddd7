/**
 * The router as Aedes knows it: the `mq` of `aedes.subscribe` and friends (mqemitter's contract: `on`,
 * `removeListener`, `emit`, `close`), on top of the local subscription table. What the embedding program listens to
 * stands in that table beside the sessions, so the peers forward it too.
 */

import type { SubscriptionOptions } from '../mqtt/wire/packets.js'
import type { SubscriptionTable } from './subscription-table.js'

/** A function that wants a topic filter's messages; `done` says it has dealt with one. */
export type Listener<P> = (packet: P, done: () => void) => void

export interface RouterModules<S extends object, P> {
  readonly subscriptions: SubscriptionTable<S>
  /** Makes the subscriber that hands messages to a listener. */
  readonly subscriberFor: (listener: Listener<P>) => S
  /** Publishes what the program emits; `done` when it is kept. */
  readonly publish: (packet: P, done: (error?: Error) => void) => void
}

/** Listeners get everything as it was published. */
const LISTENER_OPTIONS: SubscriptionOptions = {
  qos: 2,
  noLocal: false,
  retainAsPublished: true,
  retainHandling: 2,
  subscriptionId: undefined,
}

export class Router<S extends object, P> {
  private readonly subscribers = new Map<Listener<P>, Map<string, S>>()
  private isClosed = false

  constructor(private readonly modules: RouterModules<S, P>) {}

  on(filter: string, listener: Listener<P>, done?: () => void): this {
    let filters = this.subscribers.get(listener)
    if (filters === undefined) {
      filters = new Map()
      this.subscribers.set(listener, filters)
    }
    if (!filters.has(filter)) {
      const subscriber = this.modules.subscriberFor(listener)
      filters.set(filter, subscriber)
      this.modules.subscriptions.subscribe(subscriber, filter, LISTENER_OPTIONS)
    }
    if (done !== undefined) setImmediate(done)
    return this
  }

  removeListener(filter: string, listener: Listener<P>, done?: () => void): this {
    const filters = this.subscribers.get(listener)
    const subscriber = filters?.get(filter)
    if (filters !== undefined && subscriber !== undefined) {
      this.modules.subscriptions.unsubscribe(subscriber, filter)
      filters.delete(filter)
      if (filters.size === 0) this.subscribers.delete(listener)
    }
    if (done !== undefined) setImmediate(done)
    return this
  }

  emit(packet: P, done: (error?: Error) => void = () => {}): void {
    if (this.isClosed) {
      setImmediate(done, new Error('the router is closed'))
      return
    }
    this.modules.publish(packet, done)
  }

  close(done: () => void): void {
    this.isClosed = true
    for (const [listener, filters] of this.subscribers) {
      for (const filter of filters.keys()) this.removeListener(filter, listener)
    }
    setImmediate(done)
  }
}
