import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'
import { conformancePage } from '../support/scripts/conformance-page.js'
import { type Conformance, readConformance, type Statement } from '../support/scripts/statements.js'

/** The chapters of both specifications whose every statement is shown, or listed as one that cannot be. */
const COVERED: readonly string[] = ['1', '2', '3.1', '3.2', '3.3']

let conformance: Conformance

before(async () => {
  conformance = await readConformance()
})

function isCovered({ id }: Statement): boolean {
  return COVERED.some((chapter) => id.startsWith(`MQTT-${chapter}.`))
}

function names(statements: readonly Statement[]): string[] {
  return statements.map(({ specification, id }) => `${specification} ${id}`)
}

test('every statement that binds a server has a test that cites it, or a reason why there is none', () => {
  const open = conformance.statements.filter(
    (one) => one.bindsServer && isCovered(one) && one.tests.length === 0 && one.exception === undefined,
  )
  assert.deepEqual(names(open), [])
})

test('a statement that a test cites is not listed as one that cannot be tested, and every such one has its reason', () => {
  const excepted = conformance.statements.filter(({ exception }) => exception !== undefined)
  assert.deepEqual(names(excepted.filter(({ tests }) => tests.length > 0)), [])
  assert.deepEqual(names(excepted.filter(({ exception }) => exception === '')), [])
})

test('tests and exceptions cite only statements that there are', () => {
  assert.deepEqual(conformance.unknown, [])
})

test('docs/conformance.md is what the names of the tests say', () => {
  const page = readFileSync(new URL('../../docs/conformance.md', import.meta.url), 'utf8')
  assert.equal(page, conformancePage(conformance), 'run npm run docs:generate')
})
