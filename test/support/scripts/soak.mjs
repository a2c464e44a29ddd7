#!/usr/bin/env node
/**
 * `npm run soak -- [--seed N] [--inputs N] [--minutes N] [--nodes N]`: hostile bytes, then a mesh under faults, then its
 * histories with either store, then faults that are planted and have to be found, one after another. Ends with 1 when one of
 * them does, after all of them.
 */

import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from './build.mjs'
import { ROOT, run, runScript } from './run-command.mjs'

const DEFAULT_INPUTS = '200000'
/** Of each of the three runs of faults, and at most of each that looks for a plant. */
const DEFAULT_MINUTES = '5'

async function main() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: `${Date.now() % 1_000_000}` },
      inputs: { type: 'string', default: DEFAULT_INPUTS },
      minutes: { type: 'string', default: DEFAULT_MINUTES },
      nodes: { type: 'string' },
    },
  })
  const { seed, inputs, minutes, nodes } = values
  const faults = ['--seed', seed, '--minutes', minutes, ...(nodes === undefined ? [] : ['--nodes', nodes])]
  const parts = [
    { name: 'fuzz', file: 'test/fuzz/main.ts', parameters: ['--seed', seed, '--inputs', inputs] },
    { name: 'chaos:mesh', file: 'test/chaos/mesh/main.ts', parameters: faults },
    { name: 'chaos', file: 'test/chaos/history/main.ts', parameters: faults },
    { name: 'chaos', file: 'test/chaos/history/main.ts', parameters: [...faults, '--store', 'redis'] },
  ]
  for (const plant of readdirSync(join(ROOT, 'test/chaos/history/plants'))) {
    const parameters = [...faults, '--plant', basename(plant, '.mjs')]
    parts.push({ name: 'chaos', file: 'test/chaos/history/main.ts', parameters })
  }
  await build()
  const failed = []
  for (const { name, file, parameters } of parts) {
    console.log(`\n── ${name} ${parameters.join(' ')} ──`)
    if ((await run(process.execPath, ['--import', 'tsx', file, ...parameters])) !== 0)
      failed.push([name, ...parameters].join(' '))
  }
  console.log(failed.length === 0 ? '\nnothing wrong' : `\nFAILED: ${failed.join(', ')}`)
  return failed.length === 0 ? 0 : 1
}

await runScript(main)
