#!/usr/bin/env node
/** `npm test`: installs what is missing, builds, checks, then runs the suites one after another. */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { build } from './build.mjs'
import { check } from './check.mjs'
import { installDebianPackages } from './debian-packages.mjs'
import { installDependencies, requireNodeVersion } from './dependencies.mjs'
import { ROOT, run, runScript } from './run-command.mjs'

/** Folders below test/. Suites of whole clusters run one file at a time: their timings need the machine. */
const SUITES = [
  { name: 'unit' },
  { name: 'mqtt' },
  { name: 'interop', concurrency: 1 },
  { name: 'cluster', concurrency: 1 },
]

/** No single test may take longer; a test that hangs is a failure that says its name. */
const TEST_TIMEOUT_MS = 180_000

async function main() {
  requireNodeVersion()
  await installDependencies()
  await installDebianPackages()
  await build()

  const results = [await timed('check', async () => (await check()).length === 0)]
  for (const suite of SUITES) {
    const files = testFiles(suite.name)
    if (files.length > 0) results.push(await timed(suite.name, () => runSuite(suite, files)))
  }

  console.log('')
  for (const { name, isPassed, seconds } of results) {
    console.log(`${isPassed ? 'ok    ' : 'FAILED'} ${name.padEnd(8)} ${seconds.toFixed(1).padStart(6)} s`)
  }
  return results.every(({ isPassed }) => isPassed) ? 0 : 1
}

async function runSuite({ name, concurrency }, files) {
  console.log(`\n── test/${name} ──`)
  const code = await run(process.execPath, [
    ...['--import', 'tsx', '--test', `--test-timeout=${TEST_TIMEOUT_MS}`],
    ...(concurrency === undefined ? [] : [`--test-concurrency=${concurrency}`]),
    ...files,
  ])
  return code === 0
}

function testFiles(suite) {
  const directory = join(ROOT, 'test', suite)
  if (!existsSync(directory)) return []
  const files = readdirSync(directory, { recursive: true }).filter((file) => file.endsWith('.test.ts'))
  return files.sort().map((file) => join('test', suite, file))
}

async function timed(name, task) {
  const start = performance.now()
  const isPassed = await task()
  return { name, isPassed, seconds: (performance.now() - start) / 1_000 }
}

await runScript(main)
