import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MetricRegistry } from '../../../src/telemetry/registry.js'

test('counters are plain numbers that are copied at each scrape', async () => {
  const registry = new MetricRegistry()
  const received = registry.counter({ name: 'messages_received_total', help: 'Messages received.' })
  const dropped = registry.counters({ name: 'messages_dropped_total', help: 'Dropped.' }, 'reason', ['full', 'expired'])
  received.value += 2
  dropped.full.value += 3
  const text = await registry.scrape()
  assert.match(text, /^# HELP shoalmq_messages_received_total Messages received\.$/m)
  assert.match(text, /^shoalmq_messages_received_total 2$/m)
  assert.match(text, /^shoalmq_messages_dropped_total\{reason="full"\} 3$/m)
  assert.match(text, /^shoalmq_messages_dropped_total\{reason="expired"\} 0$/m)
  received.value += 1
  assert.match(await registry.scrape(), /^shoalmq_messages_received_total 3$/m)
})

test('gauges are read at scrape, and a label set that is gone is not shown any more', async () => {
  const registry = new MetricRegistry()
  const peers = new Map([['n2', 1]])
  registry.gauge({ name: 'peers', help: 'Peers.' }, () => peers.size)
  registry.gaugeOf({ name: 'link_rtt_seconds', help: 'Round trip.' }, ['peer'], () =>
    [...peers].map(([peer, rtt]) => [{ peer }, rtt] as const),
  )
  assert.match(await registry.scrape(), /^shoalmq_link_rtt_seconds\{peer="n2"\} 1$/m)
  peers.clear()
  const text = await registry.scrape()
  assert.match(text, /^shoalmq_peers 0$/m)
  assert.doesNotMatch(text, /peer="n2"/)
})

test('a gauge without labels that has no value is not there', async () => {
  const registry = new MetricRegistry()
  let expiresAt: number | undefined
  const description = { name: 'expiry_seconds', help: 'Expiry.' }
  registry.gaugeOf(description, [], () => (expiresAt === undefined ? [] : [[{}, expiresAt]]))
  assert.doesNotMatch(await registry.scrape(), /^shoalmq_expiry_seconds/m)
  expiresAt = 7
  assert.match(await registry.scrape(), /^shoalmq_expiry_seconds 7$/m)
})

test('the event loop and the process are measured', async () => {
  const registry = new MetricRegistry()
  registry.collectProcessMetrics()
  const text = await registry.scrape()
  for (const name of ['nodejs_eventloop_lag_seconds', 'process_resident_memory_bytes', 'process_cpu_seconds_total']) {
    assert.match(text, new RegExp(`^${name}`, 'm'))
  }
})

test('two nodes in one process do not share metrics', async () => {
  const [one, two] = [new MetricRegistry(), new MetricRegistry()]
  one.counter({ name: 'a_total', help: 'A.' }).value = 1
  two.counter({ name: 'a_total', help: 'A.' }).value = 2
  assert.match(await one.scrape(), /^shoalmq_a_total 1$/m)
  assert.match(await two.scrape(), /^shoalmq_a_total 2$/m)
})
