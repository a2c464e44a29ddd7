/** docs/conformance.md, from the tables of statements and the names of the tests. */

import { type Conformance, SPECIFICATIONS, type Specification, type Statement } from './statements.js'

const INTRODUCTION = `# Conformance

<!-- Generated from the names of the tests by npm run docs:generate. Do not edit. -->

Every normative statement of [MQTT 5.0](https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html) and
[MQTT 3.1.1](https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/mqtt-v3.1.1.html) that binds a server, and the tests that show
it kept. A test speaks MQTT over TCP (or WebSocket) to a node of its own and looks at the packets or bytes that come
back; it cites the statements by number in its name. The statements themselves are in the specifications. Lists of those
of 5.0 do not number all sentences of CONNECT, CONNACK and PUBLISH alike: a test cites a number for either meaning.
`

/** Titles of one file that a row shows. */
const TITLES_SHOWN = 3

const OPEN = '**open**'

/** Chapters, by the first two parts of a statement's number; those that are of one specification only, with its name. */
const CHAPTERS: Readonly<Record<string, string>> = {
  '1.5': 'Data representation',
  '2.1': 'Fixed header',
  '2.2': 'Fixed and variable header',
  '2.3': 'Packet identifier',
  '3.1': 'CONNECT',
  '3.2': 'CONNACK',
  '3.3': 'PUBLISH',
  '3.4': 'PUBACK',
  '3.5': 'PUBREC',
  '3.6': 'PUBREL',
  '3.7': 'PUBCOMP',
  '3.8': 'SUBSCRIBE',
  '3.9': 'SUBACK',
  '3.10': 'UNSUBSCRIBE',
  '3.11': 'UNSUBACK',
  '3.12': 'PINGREQ',
  '3.13': 'PINGRESP',
  '3.14': 'DISCONNECT',
  '3.15': 'AUTH',
  '4.1': 'Session state',
  '4.2': 'Network connections',
  '4.3': 'Quality of service',
  '4.4': 'Delivery retry',
  '4.5': 'Message receipt',
  '4.6': 'Message ordering',
  '4.7': 'Topic names and topic filters',
  '5.0 4.8': 'Subscriptions',
  '3.1.1 4.8': 'Handling errors',
  '4.9': 'Flow control',
  '4.12': 'Enhanced authentication',
  '4.13': 'Handling errors',
  '6.0': 'WebSocket',
  '7.0': 'Conformance',
  '7.1': 'Conformance of servers',
}

export function conformancePage({ statements }: Conformance): string {
  return [
    INTRODUCTION,
    totals(statements),
    ...SPECIFICATIONS.map((specification) =>
      specificationText(
        specification,
        statements.filter((one) => one.specification === specification),
      ),
    ),
  ].join('\n')
}

function totals(statements: readonly Statement[]): string {
  const lines = SPECIFICATIONS.map((specification) => {
    const all = statements.filter((one) => one.specification === specification)
    const binding = all.filter((one) => one.bindsServer)
    const tested = binding.filter(({ tests }) => tests.length > 0).length
    const excepted = binding.filter(({ tests, exception }) => tests.length === 0 && exception !== undefined).length
    const open = binding.length - tested - excepted
    return `| MQTT ${specification} | ${[all.length, binding.length, tested, excepted, open].join(' | ')} |`
  })
  return [
    '| specification | statements | bind a server | tested | not testable from outside | open |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    ...lines,
    '',
  ].join('\n')
}

function specificationText(specification: Specification, statements: readonly Statement[]): string {
  const chapters = new Map<string, Statement[]>()
  for (const statement of statements) {
    const chapter = chapterOf(statement)
    if (statement.bindsServer) chapters.set(chapter, [...(chapters.get(chapter) ?? []), statement])
  }
  const clients = statements.filter(({ bindsServer }) => !bindsServer).map(({ id }) => `\`${id}\``)
  return [
    `## MQTT ${specification}\n`,
    ...[...chapters].map(([chapter, list]) => chapterText(specification, chapter, list)),
    `### Bind a client only\n\n${clients.join(', ')}\n`,
  ].join('\n')
}

function chapterText(specification: Specification, chapter: string, statements: readonly Statement[]): string {
  const rows = statements.map((one) => `| \`${one.id}\` | ${[summary(one), evidence(one)].join('')} |`)
  const title = CHAPTERS[chapter] ?? CHAPTERS[`${specification} ${chapter}`] ?? ''
  return [`### ${chapter} ${title}\n`, '| statement | shown by |', '| --- | --- |', ...rows, ''].join('\n')
}

function summary({ summary }: Statement): string {
  return summary === '' ? '' : `*${escaped(summary)}*<br>`
}

function evidence({ tests, exception }: Statement): string {
  if (tests.length === 0) {
    return exception === undefined ? OPEN : `not testable from outside: ${escaped(exception)}`
  }
  const byFile = new Map<string, Set<string>>()
  for (const { file, title } of tests) byFile.set(file, (byFile.get(file) ?? new Set()).add(plain(title)))
  return [...byFile].map(([file, titles]) => `${link(file)}: ${listed([...titles])}`).join('<br>')
}

/** The first few, and how many more there are: rows of a table of cases are told apart in the test itself. */
function listed(titles: readonly string[]): string {
  const shown = titles.slice(0, TITLES_SHOWN).map(escaped).join('; ')
  const more = titles.length - TITLES_SHOWN
  return more > 0 ? `${shown}; and ${more} more` : shown
}

function link(file: string): string {
  return `[${file.replace(/^test\/mqtt\/(?:conformance\/)?|\.test\.ts$/g, '')}](../${file})`
}

/** The title without its citations, and without the version that these tell already. */
function plain(title: string): string {
  return title.replace(/\[MQTT[^\]]*\] | \[MQTT[^\]]*\]/g, '').replace(/ \(version \d\)$/, '')
}

/** As it reads in a cell of a table. */
function escaped(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('*', '\\*')
}

/** `3.1` of `MQTT-3.1.2-4`. */
function chapterOf({ id }: Statement): string {
  return id.replace(/^MQTT-(\d+\.\d+).*$/, '$1')
}
