/**
 * `npm run fuzz -- [--target codec|node] [--seed N] [--inputs N] [--first N]`
 * `npm run fuzz -- --hex BYTES [--version 3|4|5] [--target node --transport tcp|websocket]`
 *
 * Hostile bytes for the codec and for a node; without `--target` for both. The same seed makes the same inputs.
 */

import { parseArgs } from 'node:util'
import { failureOf, fuzzCodec } from './codec-fuzz.js'
import { FuzzFailure } from './failure.js'
import type { FuzzVersion } from './grammar.js'
import { Inputs } from './inputs.js'
import { Judge } from './judge.js'
import { fuzzNode, startNode } from './node-fuzz.js'

const DEFAULT_INPUTS = 100_000
const PROGRESS_EVERY_MS = 10_000

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    seed: { type: 'string' },
    inputs: { type: 'string' },
    first: { type: 'string' },
    hex: { type: 'string' },
    version: { type: 'string' },
    transport: { type: 'string' },
  },
})

/** One input, as a failure has told it. */
async function replay(bytes: Buffer, version: FuzzVersion): Promise<void> {
  const judge = new Judge(startNode)
  const found =
    values.target === 'node'
      ? await judge.failureOf(bytes, values.transport === 'websocket' ? 'websocket' : 'tcp')
      : failureOf(bytes, version)
  await judge.stop()
  say(found === undefined ? 'nothing goes wrong' : String(found instanceof Error ? found.stack : found))
  process.exitCode = found === undefined ? 0 : 1
}

async function run(): Promise<void> {
  const inputs = new Inputs(Number(values.seed ?? Date.now() % 1_000_000_000))
  const first = Number(values.first ?? 0)
  const count = Number(values.inputs ?? DEFAULT_INPUTS)
  say(`seed ${inputs.seed}, ${count} inputs from ${first}`)
  if (values.target !== 'node') say(`codec: ${JSON.stringify(await fuzzCodec(inputs, { first, count }))}`)
  if (values.target === 'codec') return
  let saidAt = performance.now()
  const report = await fuzzNode(inputs, {
    first,
    count,
    progress(done) {
      if (performance.now() - saidAt < PROGRESS_EVERY_MS) return
      saidAt = performance.now()
      say(`node: ${done} of ${count}`)
    },
    failed: (error) => say(`node: ${error instanceof Error ? error.message : String(error)}; looking for the input …`),
  })
  say(`node: ${JSON.stringify(report)}`)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

try {
  if (values.hex !== undefined) await replay(Buffer.from(values.hex, 'hex'), Number(values.version ?? 5) as FuzzVersion)
  else await run()
} catch (error) {
  if (!(error instanceof FuzzFailure)) throw error
  say(error.message)
  say(String(error.cause instanceof Error ? error.cause.stack : error.cause))
  process.exitCode = 1
}
