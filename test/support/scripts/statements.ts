/** The normative statements of both specifications, and which tests cite them. */

import { readFileSync } from 'node:fs'
import { type TestTitle, testTitles } from './test-titles.js'

export type Specification = '5.0' | '3.1.1'

export const SPECIFICATIONS: readonly Specification[] = ['5.0', '3.1.1']

/** One statement, and what shows that it is kept. */
export interface Statement {
  readonly specification: Specification
  /** Such as `MQTT-3.1.0-2`. */
  readonly id: string
  readonly bindsServer: boolean
  /** What it asks, in our own words; empty where the tests say it. */
  readonly summary: string
  readonly tests: readonly TestTitle[]
  /** Why it cannot be tested from outside. */
  readonly exception: string | undefined
}

export interface Conformance {
  readonly statements: readonly Statement[]
  /** What tests or exceptions cite and no specification has, as they write it. */
  readonly unknown: readonly string[]
}

/** A citation in the name of a test: `[MQTT-3.1.0-2]`, or `[MQTT 3.1.1: MQTT-3.1.0-2]`. */
const CITATION = /\[(?:MQTT (?<document>3\.1\.1): )?(?<id>MQTT-\d+(?:\.\d+)+-\d+)\]/g

const SUPPORT = new URL('../', import.meta.url)

/** Reads the tables of statements and exceptions, and the names of all tests in test/mqtt. */
export async function readConformance(): Promise<Conformance> {
  const tests = new Map<string, TestTitle[]>()
  for (const one of await testTitles('test/mqtt')) {
    for (const key of citationsIn(one.title)) tests.set(key, [...(tests.get(key) ?? []), one])
  }
  const exceptions = new Map(
    rows('conformance-exceptions.tsv').map(([specification, id, reason]) => [`${specification} ${id}`, reason ?? '']),
  )
  const statements = SPECIFICATIONS.flatMap((specification) =>
    rows(`statements-${specification}.tsv`).map(([id = '', binds = '', summary = '']): Statement => {
      const key = `${specification} ${id}`
      return {
        specification,
        id,
        bindsServer: binds !== 'Client',
        summary,
        tests: tests.get(key) ?? [],
        exception: exceptions.get(key),
      }
    }),
  )
  const known = new Set(statements.map(({ specification, id }) => `${specification} ${id}`))
  const unknown = [...tests.keys(), ...exceptions.keys()].filter((key) => !known.has(key))
  return { statements, unknown }
}

/** `specification id` of each statement that a test's name cites. */
function citationsIn(title: string): string[] {
  return [...title.matchAll(CITATION)].map(({ groups }) => `${groups?.document ?? '5.0'} ${groups?.id}`)
}

/** The lines of a table in test/support, comments left out, as fields. */
function rows(name: string): string[][] {
  return readFileSync(new URL(name, SUPPORT), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split('\t'))
}
