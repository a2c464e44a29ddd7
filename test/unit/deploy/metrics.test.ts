import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { describeMetrics } from '../../../src/node.js'

const DEPLOY = fileURLToPath(new URL('../../../deploy/', import.meta.url))

interface Dashboard {
  panels: { title: string; targets?: { expr: string }[] }[]
}

interface Rules {
  groups: { rules: { alert: string; expr: string }[] }[]
}

/** ShoalMQ's own metrics in a PromQL expression; of a histogram, the metric that its series belong to. */
function metricsIn(expression: string): string[] {
  return (expression.match(/\bshoalmq_\w+/g) ?? []).map((name) => name.replace(/_(bucket|sum|count)$/, ''))
}

const dashboard = JSON.parse(readFileSync(join(DEPLOY, 'grafana/shoalmq.json'), 'utf8')) as Dashboard
const shown = new Set(dashboard.panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => metricsIn(expr))))

let known: Set<string>

before(async () => {
  known = new Set((await describeMetrics()).map(({ name }) => name).filter((name) => name.startsWith('shoalmq_')))
})

describe('the Grafana dashboard', () => {
  test('shows metrics that a node has', () => {
    assert.deepEqual(
      [...shown].filter((name) => !known.has(name)),
      [],
    )
  })

  test('shows every metric of a node', () => {
    assert.deepEqual(
      [...known].filter((name) => !shown.has(name)),
      [],
    )
  })
})

describe('the alerts', () => {
  test('are on metrics that a node has', () => {
    const rules = (parse(readFileSync(join(DEPLOY, 'prometheus-rules.yml'), 'utf8')) as Rules).groups.flatMap(
      (group) => group.rules,
    )
    assert.ok(rules.length > 0)
    for (const { alert, expr } of rules) {
      for (const name of metricsIn(expr)) assert.ok(known.has(name), `${alert}: ${name}`)
    }
  })
})
