import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'
import { conformancePage } from '../support/scripts/conformance-page.js'
import { type Conformance, readConformance, type Statement } from '../support/scripts/statements.js'

let conformance: Conformance

before(async () => {
  conformance = await readConformance()
})

function names(statements: readonly Statement[]): string[] {
  return statements.map(({ specification, id }) => `${specification} ${id}`)
}

test('every statement that binds a server has a test that cites it, or a reason why there is none', () => {
  const open = conformance.statements.filter(
    (one) => one.bindsServer && one.tests.length === 0 && one.exception === undefined,
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

test('a test that runs with 3.1.1 cites the statements of 3.1.1, not those of 5.0', () => {
  const mistaken = conformance.statements
    .filter(({ specification }) => specification === '5.0')
    .flatMap(({ tests }) => tests.filter(({ title }) => title.includes('(version 4)')))
  assert.deepEqual(
    mistaken.map(({ title }) => title),
    [],
  )
})

test('docs/conformance.md is what the names of the tests say', () => {
  const page = readFileSync(new URL('../../docs/conformance.md', import.meta.url), 'utf8')
  assert.equal(page, conformancePage(conformance), 'run npm run docs:generate')
})
