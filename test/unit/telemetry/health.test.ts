import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Health } from '../../../src/telemetry/health.js'

test('a node without checks is ready', () => {
  assert.deepEqual(new Health().failing(), {})
})

test('failing checks are named with their reasons, and asked anew each time', () => {
  const health = new Health()
  let isMeshed = false
  health.add('serving', () => undefined)
  health.add('mesh', () => (isMeshed ? undefined : 'waiting for n2'))
  assert.deepEqual(health.failing(), { mesh: 'waiting for n2' })
  isMeshed = true
  assert.deepEqual(health.failing(), {})
})

test('two checks cannot have one name', () => {
  const health = new Health()
  health.add('mesh', () => undefined)
  assert.throws(() => health.add('mesh', () => undefined), /already a health check called mesh/)
})
