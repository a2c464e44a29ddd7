import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, it } from 'node:test'
import { CATALOG, optionByKey } from '../../../src/config/catalog.js'
import { DEFAULTS } from '../../../src/config/options.js'
import { Node } from '../../../src/node.js'
import { createLogger } from '../../../src/telemetry/logger.js'

const PAGE = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8')
const HEADING = '## Limits: what happens when they bite'

/** Options of the protocol that limit nothing: what else is not in the tables is missing there. */
const NO_LIMITS = [
  'mqtt.checkPayloadFormat',
  'mqtt.connectBurst',
  'mqtt.longMqtt31ClientIds',
  'mqtt.matchCacheTopics',
  'mqtt.outboundTopicAliasMaximum',
  'mqtt.overlappingDeliveries',
  'mqtt.responseInformation',
  'mqtt.serverMoved',
  'mqtt.serverReference',
  'mqtt.sharedGroups',
  'mqtt.sharedStrategy',
]

/** The cells of each row: limit, option, default, what the client sees, metric. */
function rows(): string[][] {
  const start = PAGE.indexOf(HEADING)
  assert.ok(start !== -1)
  const section = PAGE.slice(start, PAGE.indexOf('\n## ', start + HEADING.length))
  const lines = section.split('\n').filter((line) => /^\| (?!---|limit )/.test(line))
  return lines.map((line) => line.replace(/^\| | \|$/g, '').split(' | '))
}

function quoted(cell: string | undefined): string[] {
  return [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, text]) => text ?? '')
}

describe('the tables of limits', () => {
  let scraped: string

  before(async () => {
    const log = createLogger({ level: 'silent', format: 'json' }, {})
    scraped = await new Node(DEFAULTS, { log }).metrics.scrape()
  })

  it('name options that exist, with their defaults', () => {
    for (const [limit, option, fallback] of rows()) {
      for (const key of quoted(option))
        assert.deepEqual(quoted(fallback), [optionByKey(key)?.fallback], `${limit}: ${key}`)
    }
  })

  it('leave no limit of the protocol out', () => {
    const named = new Set(rows().flatMap(([, option]) => quoted(option)))
    const missing = CATALOG.map(({ key }) => key).filter((key) => key.startsWith('mqtt.') && !named.has(key))
    assert.deepEqual(missing.sort(), NO_LIMITS, 'a row in docs/operations.md, or a line above')
  })

  it('name metrics that exist, with their reasons', () => {
    for (const [limit, , , , metric] of rows()) {
      for (const name of quoted(metric)) assert.ok(scraped.includes(`shoalmq_${name}`), `${limit}: ${name}`)
    }
  })
})
