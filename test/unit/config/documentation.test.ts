import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { CATALOG, LISTENER_CATALOG } from '../../../src/config/catalog.js'
import { configurationPage } from '../../support/scripts/configuration-page.js'

test('docs/configuration.md is what the options say', () => {
  const page = readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8')
  assert.equal(page, configurationPage(), 'run npm run docs:generate')
})

test('every option has a help text, and its default is one that it accepts', () => {
  for (const { key, help, accepted, kind, fallback, schema } of CATALOG) {
    assert.match(help, /^[`A-Z].*\.$/s, key)
    assert.notEqual(accepted, '', key)
    const written = kind === 'boolean' ? fallback === 'true' : kind === 'count' ? Number(fallback) : fallback
    const isList = kind === 'list' || kind === 'records'
    const items = fallback.split(', ').filter((item) => item !== '')
    const value = isList ? items : kind === 'choices' ? {} : written
    assert.equal(schema.safeParse(value).success, true, key)
  }
})

test('every option of a listener has a help text', () => {
  assert.ok(LISTENER_CATALOG.length > 10)
  for (const { key, help, accepted } of LISTENER_CATALOG) {
    assert.match(help, /^[`A-Z].*\.$/s, key)
    assert.notEqual(accepted, '', key)
  }
})

test('only what may be seen by everybody on the machine is a flag', () => {
  const flags = CATALOG.filter(({ flag }) => flag !== undefined)
  assert.deepEqual(
    flags.filter(({ kind }) => kind === 'secret'),
    [],
  )
  assert.deepEqual(
    flags.map(({ flag }) => flag),
    [
      '--name',
      '--data',
      '--listen',
      '--allow-anonymous',
      '--admin',
      '--cluster',
      '--seeds',
      '--log-level',
      '--log-format',
    ],
  )
})
