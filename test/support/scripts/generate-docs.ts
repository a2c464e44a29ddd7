/**
 * `npm run docs:generate`: writes docs/configuration.md from the option schema, docs/metrics.md from the metrics of a
 * node and docs/conformance.md from the names of the tests. With `--check` nothing is written: a difference is said and ends with exit code 1.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describeMetrics } from '../../../src/node.js'
import { configurationPage } from './configuration-page.js'
import { conformancePage } from './conformance-page.js'
import { metricsPage } from './metrics-page.js'
import { readConformance } from './statements.js'

const DOCS = new URL('../../../docs/', import.meta.url)

const pages: ReadonlyMap<string, string> = new Map([
  ['configuration.md', configurationPage()],
  ['metrics.md', metricsPage(await describeMetrics())],
  ['conformance.md', conformancePage(await readConformance())],
])

const isCheck = process.argv.includes('--check')
for (const [name, text] of pages) {
  const path = fileURLToPath(new URL(name, DOCS))
  if (!isCheck) {
    writeFileSync(path, text)
    console.log(`docs/${name} written`)
  } else if (readIfThere(path) !== text) {
    console.error(`docs/${name} is not what the sources say: run npm run docs:generate`)
    process.exitCode = 1
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
