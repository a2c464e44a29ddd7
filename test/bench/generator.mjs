/** The load generator: compiled from generator/ when needed, run on a core of its own. */

import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT, ScriptError } from '../support/scripts/run-command.mjs'

const run = promisify(execFile)
const SOURCES = join(ROOT, 'test/bench/generator')

export const GENERATOR_CORE = '0'
const WARM_UP_SECONDS = 1
/** Beyond measured time and warm-up: connecting, and draining what is queued. */
const OVERHEAD_MS = 90_000

/** Compiles the generator into a directory that is gone when the process ends; the path of the program. */
export function compileGenerator() {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-load-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const program = join(directory, 'load')
  const files = readdirSync(SOURCES).filter((name) => name.endsWith('.c'))
  try {
    execFileSync('cc', ['-O2', '-std=gnu11', '-o', program, ...files], { cwd: SOURCES })
  } catch (error) {
    throw new ScriptError(`The load generator cannot be compiled; it needs a C compiler (Debian: gcc). ${error}`)
  }
  return program
}

/**
 * One run; its result.
 * @param {{ program: string, seconds: number, version: number }} options
 * @param {string} parameters of the scenario
 * @param {readonly string[]} where ports and process ids
 * @param {{ mayDisconnect?: boolean }} [tolerance] a broker that closes the connections of its clients has a result, too
 */
export async function load({ program, seconds, version }, parameters, where, { mayDisconnect = false } = {}) {
  const command = [
    ...['-c', GENERATOR_CORE, program, ...where, ...parameters.split(' ').filter((word) => word !== '')],
    ...['--seconds', `${seconds}`, '--warm-up', `${WARM_UP_SECONDS}`, '--version', `${version}`],
  ]
  const timeout = (seconds + WARM_UP_SECONDS) * 1_000 + OVERHEAD_MS
  try {
    const { stdout } = await run('taskset', command, { timeout })
    return JSON.parse(stdout)
  } catch (error) {
    const result = mayDisconnect && error.stdout ? JSON.parse(error.stdout) : undefined
    if (result === undefined || result.disconnects === 0) throw error
    return result
  }
}
