import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { type AlarmCondition, Alarms } from '../../../src/telemetry/alarms.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'

const CONDITION: AlarmCondition = {
  alarm: 'peer_down',
  subject: 'n2@h',
  severity: 'critical',
  detail: 'n2@h does not answer',
}

function fixture() {
  const lines: string[] = []
  const registry = new MetricRegistry()
  const log = pino({ level: 'info' }, { write: (line) => lines.push((JSON.parse(line) as { msg: string }).msg) })
  const conditions: AlarmCondition[] = []
  const alarms = new Alarms({ registry, log })
  alarms.add(() => conditions)
  return { alarms, conditions, lines, registry }
}

test('an alarm is logged once when it comes and once when it has gone, and listed and counted meanwhile', async () => {
  const { alarms, conditions, lines, registry } = fixture()
  alarms.look()
  assert.deepEqual(alarms.list(), [])
  conditions.push(CONDITION)
  for (let looks = 0; looks < 5; looks += 1) alarms.look()
  assert.deepEqual(lines, ['alarm raised'])
  const [raised, ...others] = alarms.list()
  assert.equal(others.length, 0)
  assert.ok(raised !== undefined && Math.abs(Date.parse(raised.since) - Date.now()) < 60_000)
  assert.deepEqual({ ...raised, since: '' }, { ...CONDITION, since: '' })
  assert.match(await registry.scrape(), /^shoalmq_alarms\{alarm="peer_down"\} 1$/m)
  conditions.length = 0
  for (let looks = 0; looks < 5; looks += 1) alarms.look()
  assert.deepEqual(lines, ['alarm raised', 'alarm cleared'])
  assert.deepEqual(alarms.list(), [])
  assert.match(await registry.scrape(), /^shoalmq_alarms\{alarm="peer_down"\} 0$/m)
})

test('a condition that comes and goes is one alarm, and says what it said last', () => {
  const { alarms, conditions, lines } = fixture()
  for (let times = 0; times < 10; times += 1) {
    conditions[0] = { ...CONDITION, detail: `${times}` }
    alarms.look()
    conditions.length = 0
    alarms.look()
    alarms.look()
  }
  assert.deepEqual(lines, ['alarm raised'])
  assert.equal(alarms.list()[0]?.detail, '9')
})

test('alarms of one name are told apart by their subject', () => {
  const { alarms, conditions } = fixture()
  conditions.push(CONDITION, { ...CONDITION, subject: 'n3@h' })
  alarms.look()
  assert.deepEqual(
    alarms.list().map(({ subject }) => subject),
    ['n2@h', 'n3@h'],
  )
})

test('there are never more than a thousand alarms', () => {
  const { alarms, conditions } = fixture()
  for (let number = 0; number < 1_500; number += 1) conditions.push({ ...CONDITION, subject: `n${number}` })
  alarms.look()
  assert.equal(alarms.list().length, 1_000)
})
