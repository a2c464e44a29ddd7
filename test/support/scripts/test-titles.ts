/** The names of the tests that speak MQTT to a node, without running them. */

import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** The top of the checkout. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

export interface TestTitle {
  /** From the top of the checkout, with forward slashes. */
  readonly file: string
  readonly title: string
}

/** Names of tests, as JSON. */
const MAXIMUM_OUTPUT_BYTES = 16 * 1024 * 1024

/** Loads every test file below a folder in a process of its own, in which `test` only takes names. */
export async function testTitles(folder: string): Promise<TestTitle[]> {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => join(ROOT, folder, name))
  const recorder = fileURLToPath(new URL('record-test-titles.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', recorder, ...files], {
    cwd: ROOT,
    maxBuffer: MAXIMUM_OUTPUT_BYTES,
  })
  return JSON.parse(stdout) as TestTitle[]
}
