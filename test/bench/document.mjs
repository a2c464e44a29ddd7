/** The document that measurements are written into, between marks with their names. */

import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { ROOT, ScriptError } from '../support/scripts/run-command.mjs'

const DOCUMENT = join(ROOT, 'docs/benchmarks.md')

/**
 * Puts text between `<!-- measured: name -->` and the `<!-- end -->` that follows, in place of what is there.
 * @param {string} name
 * @param {string} text
 */
export function fillIn(name, text) {
  const document = readFileSync(DOCUMENT, 'utf8')
  const begin = `<!-- measured: ${name} -->\n`
  const from = document.indexOf(begin)
  const to = document.indexOf('<!-- end -->', from)
  if (from === -1 || to === -1) throw new ScriptError(`${DOCUMENT} has no place for the table: ${name}.`)
  writeFileSync(DOCUMENT, `${document.slice(0, from + begin.length)}\n${text.trim()}\n\n${document.slice(to)}`)
}

/** When and on what. */
export function circumstances() {
  const [first] = cpus()
  return `${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${cpus().length} cores (${first?.model ?? 'unknown'})`
}
