#!/usr/bin/env node
/**
 * `npm test`: installs what is missing, builds, checks, then runs the suites one after another. With names of suites,
 * or of folders and files in them (`unit`, `unit/config`, `cluster/routing.test.ts`), it runs only these, as they are.
 */

import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { build } from './build.mjs'
import { check } from './check.mjs'
import { installDebianPackages } from './debian-packages.mjs'
import { installDependencies, requireNodeVersion } from './dependencies.mjs'
import { ROOT, run, runScript, ScriptError } from './run-command.mjs'

/** Files that hold a cluster to a time, or put all the load on it that there can be: they need the machine. */
const ALONE =
  /(directory|failure|late-joiner|partition|pressure|rolling-restart|sixteen-nodes|start|takeover)\.test\.ts$/

/** Folders below test/, and how many files of each run at a time. */
const SUITES = [
  { name: 'unit', concurrency: 2 },
  // Each file has a node of its own and waits for it most of the time.
  { name: 'mqtt', concurrency: 3 },
  { name: 'fuzz', concurrency: 1 },
  { name: 'examples', concurrency: 1 },
  { name: 'interop', concurrency: 1 },
  // Its nodes wait for each other most of the time.
  { name: 'cluster', concurrency: 2, alone: ALONE },
  { name: 'chaos', concurrency: 1 },
]

/** No test file may take longer: one that hangs is a failure that says its name. The runner times files as it does tests. */
const TEST_TIMEOUT_MS = 420_000

async function main() {
  requireNodeVersion()
  const chosen = process.argv.slice(2)
  const results = chosen.length === 0 ? await runAll() : await runSuites(chosen)
  console.log('')
  for (const { name, isPassed, seconds } of results) {
    console.log(`${isPassed ? 'ok    ' : 'FAILED'} ${name.padEnd(8)} ${seconds.toFixed(1).padStart(6)} s`)
  }
  return results.every(({ isPassed }) => isPassed) ? 0 : 1
}

async function runAll() {
  await installDependencies()
  await installDebianPackages()
  await build()
  const checked = await timed('check', async () => (await check()).length === 0)
  const present = SUITES.map(({ name }) => name).filter((name) => testFiles(name).length > 0)
  return [checked, ...(await runSuites(present))]
}

async function runSuites(names) {
  const results = []
  for (const name of names) results.push(await timed(name, () => runSuite(name)))
  return results
}

async function runSuite(name) {
  const files = testFiles(name)
  if (files.length === 0) throw new ScriptError(`There are no tests in test/${name}.`)
  const { concurrency = 1, alone } = SUITES.find((suite) => suite.name === name.split('/')[0]) ?? {}
  console.log(`\n── test/${name} ──`)
  const isAlone = (file) => alone?.test(file) === true
  const together = await runFiles(
    files.filter((file) => !isAlone(file)),
    concurrency,
  )
  return (await runFiles(files.filter(isAlone), 1)) && together
}

async function runFiles(files, concurrency) {
  if (files.length === 0) return true
  const options = [`--test-timeout=${TEST_TIMEOUT_MS}`, `--test-concurrency=${concurrency}`]
  return (await run(process.execPath, ['--import', 'tsx', '--test', ...options, ...files])) === 0
}

/** The runner of Node 20 takes files, not patterns. */
function testFiles(name) {
  const path = join(ROOT, 'test', name)
  if (!existsSync(path)) return []
  if (statSync(path).isFile()) return [join('test', name)]
  const files = readdirSync(path, { recursive: true }).filter((file) => file.endsWith('.test.ts'))
  return files.sort().map((file) => join('test', name, file))
}

async function timed(name, task) {
  const start = performance.now()
  const isPassed = await task()
  return { name, isPassed, seconds: (performance.now() - start) / 1_000 }
}

await runScript(main)
