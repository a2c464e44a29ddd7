/**
 * Prints, as JSON, the names of all tests in the files it is given: the files are loaded with a `node:test` that only
 * takes names. So a name that a loop or a table makes is the name that the runner shows.
 */

import { createRequire, syncBuiltinESMExports } from 'node:module'
import { relative, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT, type TestTitle } from './test-titles.js'

const titles: TestTitle[] = []
let file = ''

const runner = createRequire(import.meta.url)('node:test') as Record<string, unknown>
function recordTest(title: string): void {
  titles.push({ file, title })
}

function openSuite(...values: unknown[]): void {
  const body = values.at(-1)
  if (typeof body === 'function') body()
}

for (const name of ['test', 'it']) runner[name] = recordTest
for (const name of ['describe', 'suite']) runner[name] = openSuite
for (const hook of ['before', 'after', 'beforeEach', 'afterEach']) runner[hook] = (): void => undefined
syncBuiltinESMExports()

for (const path of process.argv.slice(2)) {
  file = relative(ROOT, path).split(sep).join('/')
  await import(pathToFileURL(path).href)
}
process.stdout.write(JSON.stringify(titles))
