import type { TestContext } from 'node:test'
import { Aedes, type AedesOptions } from 'aedes'
import { pino } from 'pino'
import { Broker } from '../../../src/broker/broker.js'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import type { Subscriber } from '../../../src/broker/subscriber.js'
import { DEFAULTS } from '../../../src/config/options.js'
import { RouteTable } from '../../../src/router/route-table.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { describeAedes } from '../../contract/aedes.js'

async function createBroker(context: TestContext, options: AedesOptions): Promise<Aedes> {
  const timers = new TimerWheel()
  const turn = new TurnQueue({
    onError(error) {
      throw error
    },
  })
  context.after(() => timers.stop())
  const broker = new Broker(
    { id: 'n1@test', mqtt: DEFAULTS.mqtt, aedes: options },
    {
      subscriptions: new SubscriptionTable<Subscriber>(),
      routes: new RouteTable(),
      timers,
      turn,
      metrics: createBrokerMetrics(new MetricRegistry()),
      log: pino({ level: 'silent' }),
    },
  )
  await broker.listen()
  return broker
}

// Aedes first: what it does not pass is no part of the contract.
describeAedes('Aedes', (_context, options) => Aedes.createBroker(options))
describeAedes('Broker', createBroker)
