#!/usr/bin/env node
/** `npm run check`: format and lint, types, generated documentation. Runs all, reports all. */

import { fileURLToPath } from 'node:url'
import { ROOT, run, runScript } from './run-command.mjs'

const CHECKS = [
  {
    name: 'format and lint',
    parameters: ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.'],
  },
  { name: 'types', parameters: ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit'] },
  {
    name: 'generated documentation',
    parameters: ['--import', 'tsx', 'test/support/scripts/generate-docs.ts', '--check'],
  },
]

/** The names of the checks that failed. */
export async function check() {
  const failed = []
  for (const { name, parameters } of CHECKS) {
    const code = await run(process.execPath, parameters, { cwd: ROOT })
    console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${name}`)
    if (code !== 0) failed.push(name)
  }
  return failed
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runScript(async () => ((await check()).length === 0 ? 0 : 1))
}
