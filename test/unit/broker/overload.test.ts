import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { pino } from 'pino'
import { createOverloadMetrics, Overload } from '../../../src/broker/overload.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { LoneBroker } from './lone-broker.js'

const OPTIONS = { loopDelay: 500, memory: 90 }

function setUp(options = OPTIONS) {
  const figures = { delay: 0, share: 0 }
  const lines: Record<string, unknown>[] = []
  const registry = new MetricRegistry()
  const metrics = createOverloadMetrics(registry)
  const overload = new Overload(options, {
    load: { takeLoopDelay: () => figures.delay, memoryShare: () => figures.share },
    metrics,
    log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }),
  })
  const look = (delay: number, share = 0): number | undefined => {
    figures.delay = delay
    figures.share = share
    overload.look()
    return overload.refuse()?.reasonCode
  }
  return { overload, look, lines, metrics, registry }
}

describe('overload', () => {
  it('refuses new clients from the second look above a limit to the first well below it', () => {
    const { look, overload } = setUp()
    const codes = [499, 500, 499, 500, 600, 450, 399].map((delay) => look(delay))
    assert.deepEqual(codes, [undefined, undefined, undefined, undefined, 0x89, 0x89, undefined])
    assert.equal(overload.reason, undefined)
    assert.equal(look(500), undefined, 'one pause is no overload, also after one')
  })

  it('is told as a quota when memory is short', () => {
    const { look, overload } = setUp()
    assert.deepEqual(
      [0.91, 0.91, 0.8, 0.71].map((share) => look(0, share)),
      [undefined, 0x97, 0x97, undefined],
    )
    look(0, 0.95)
    look(0, 0.95)
    assert.equal(overload.reason, 'memory')
    overload.stop()
    assert.equal(overload.reason, undefined)
  })

  it('is logged once when it begins and once when it ends, counted, and shown', async () => {
    const { look, lines, metrics, registry } = setUp()
    for (const delay of [700, 700, 700, 700, 100]) look(delay)
    assert.deepEqual(
      lines.map(({ level, reason, value, limit, refused }) => ({ level, reason, value, limit, refused })),
      [
        { level: 40, reason: 'loop_delay', value: 700, limit: 500, refused: undefined },
        { level: 30, reason: 'loop_delay', value: 100, limit: undefined, refused: 3 },
      ],
    )
    assert.equal(metrics.refused.loop_delay.value, 3)
    assert.match(await registry.scrape(), /shoalmq_overloaded\{reason="loop_delay"\} 0\n/)
    look(0, 1)
    look(0, 1)
    const text = await registry.scrape()
    assert.match(text, /shoalmq_overloaded\{reason="memory"\} 1\n/)
    assert.match(text, /shoalmq_overload_refused_total\{reason="memory"\} 1\n/)
  })

  it('has no gate where the limit is 0', () => {
    const { look } = setUp({ loopDelay: 0, memory: 0 })
    assert.deepEqual(
      [1, 2, 3].map(() => look(100_000, 1)),
      [undefined, undefined, undefined],
    )
  })

  it('lets nobody in before anybody is asked who it is, and leaves those who are in alone', async (t) => {
    const asked: string[] = []
    const { lone, look } = withBroker(t, asked)
    const client = await lone.connect({ clientId: 'in' })
    for (const _ of [1, 2]) look(1_000)
    const refused = lone.open(5)
    refused.sendConnect({ clientId: 'late' })
    assert.deepEqual(await refused.ended(), ['connack 137'])
    const old = lone.open(4)
    old.sendConnect({ clientId: 'late' })
    assert.deepEqual(await old.ended(), ['connack 3'])
    await client.subscribe('a')
    client.publish({ topic: 'a', payload: 'x' })
    assert.deepEqual(await client.settle(), ['publish 0 a x'])
    assert.deepEqual(asked, ['in'])
    look(0)
    await lone.connect({ clientId: 'late' })
    assert.deepEqual(asked, ['in', 'late'])
  })
})

function withBroker(t: TestContext, asked: string[]) {
  const { overload, look } = setUp()
  const lone = new LoneBroker(t, {
    overload,
    aedes: {
      authenticate: (client, _name, _password, done) => {
        asked.push(client.id)
        done(null, true)
      },
    },
  })
  return { lone, look }
}
