/** What the scripts of this folder share. Plain Node: they run before anything is installed. */

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The top of the checkout. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** Ends a script with one line that says what to do about it. */
export class ScriptError extends Error {}

/**
 * Runs a command in ROOT with our own output, and resolves with its exit code.
 * @param {string} file
 * @param {readonly string[]} parameters
 * @param {import('node:child_process').SpawnOptions} [options]
 * @returns {Promise<number>}
 */
export function run(file, parameters, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, parameters, { cwd: ROOT, stdio: 'inherit', ...options })
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
}

/** Runs `main` and turns what it throws into one line and exit code 1. */
export async function runScript(main) {
  try {
    process.exitCode = await main()
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error
    console.error(`\n${error.message}`)
    process.exitCode = 1
  }
}
