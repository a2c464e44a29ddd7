import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative, sep } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const SOURCE = fileURLToPath(new URL('../../src/', import.meta.url))

/** Anyone may import these; they import nothing of ours but `util`. */
const LEAVES = ['config', 'telemetry', 'version'] as const

const BELOW_BROKER = ['mqtt', 'router', 'mqtt/session', 'mqtt/wire', 'util']
const BELOW_CLUSTER = ['broker', ...BELOW_BROKER]
const BELOW_NODE = ['access', 'admin', 'cluster', 'store', 'mqtt/listener', ...BELOW_CLUSTER]

/** The rooms of the house and what each may import, leaves aside; arrows point down only. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  index: ['node', 'embedded', ...BELOW_NODE],
  main: ['node', ...BELOW_NODE],
  cli: ['main', 'node', ...BELOW_NODE],
  node: BELOW_NODE,
  // A broker without a node around it.
  embedded: BELOW_CLUSTER,
  admin: ['cluster', 'store', ...BELOW_CLUSTER],
  // Siblings: all implement broker/ports.ts and meet only in node.ts.
  access: BELOW_CLUSTER,
  cluster: BELOW_CLUSTER,
  store: BELOW_CLUSTER,
  broker: BELOW_BROKER,
  // A connection knows a Host; the router knows only what it is given.
  mqtt: ['mqtt/session', 'mqtt/wire', 'util'],
  // Sockets to connections: only the node makes listeners.
  'mqtt/listener': ['mqtt', 'mqtt/wire', 'util'],
  router: ['mqtt/wire', 'util'],
  'mqtt/session': ['mqtt/wire', 'util'],
  'mqtt/wire': [],
  util: [],
  config: ['util'],
  telemetry: ['util'],
  version: [],
}

/** Path below `src/`, with forward slashes, to the text of the file. */
type Sources = ReadonlyMap<string, string>

interface Arrow {
  from: string
  to: string
}

/** The room of a file: the longest known prefix of its path, a file of `src/` itself being its own room. */
function roomOf(path: string): string {
  const parts = path.replace(/\.ts$/, '').split('/')
  if (parts.length === 1) return parts[0] ?? ''
  const two = parts.slice(0, 2).join('/')
  return parts.length > 2 && two in ROOMS ? two : (parts[0] ?? '')
}

/** Specifiers of every import of a file: static, dynamic, re-exports and types alike. */
function importsOf(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1')
  const statements = code.matchAll(/\b(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/g)
  const sideEffects = code.matchAll(/\bimport\s*\(?\s*['"]([^'"]+)['"]/g)
  return [...statements, ...sideEffects].map(([, specifier = '']) => specifier)
}

/** Imports that cross a room, as file → file. */
function arrowsOf(sources: Sources): Arrow[] {
  const arrows: Arrow[] = []
  for (const [from, text] of sources) {
    for (const specifier of importsOf(text)) {
      if (!specifier.startsWith('.')) continue
      const to = normalize(join(dirname(from), specifier))
        .split(sep)
        .join('/')
        .replace(/\.js$/, '.ts')
      if (roomOf(to) !== roomOf(from)) arrows.push({ from, to })
    }
  }
  return arrows
}

/** Every way in which the sources break the house, as sentences. */
function faultsOf(sources: Sources): string[] {
  const faults: string[] = []
  for (const path of sources.keys()) {
    if (!(roomOf(path) in ROOMS)) faults.push(`${path} is in no known room`)
  }
  const arrows = arrowsOf(sources)
  for (const { from, to } of arrows) {
    if (!sources.has(to)) faults.push(`${from} imports ${to}, which is not there`)
    const [room, other] = [roomOf(from), roomOf(to)]
    const isAllowed = (ROOMS[room] ?? []).includes(other) || (LEAVES as readonly string[]).includes(other)
    const isLeafImport = (LEAVES as readonly string[]).includes(room) && other !== 'util' && other !== 'version'
    if (!isAllowed || isLeafImport) faults.push(`${from} imports ${to}: ${room} must not know ${other}`)
  }
  return [...faults, ...cyclesOf(arrows)]
}

/** Rooms that reach themselves, each once, by the first cycle found. */
function cyclesOf(arrows: readonly Arrow[]): string[] {
  const next = new Map<string, Set<string>>()
  for (const { from, to } of arrows) {
    const targets = next.get(roomOf(from)) ?? new Set()
    next.set(roomOf(from), targets.add(roomOf(to)))
  }
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (room: string, path: readonly string[]): void => {
    if (path.includes(room)) {
      cycles.push(`cycle: ${[...path.slice(path.indexOf(room)), room].join(' → ')}`)
      return
    }
    if (done.has(room)) return
    for (const target of next.get(room) ?? []) visit(target, [...path, room])
    done.add(room)
  }
  for (const room of next.keys()) visit(room, [])
  return cycles
}

function readSources(directory: string): Sources {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
  const sources = new Map<string, string>()
  for (const file of files) {
    if (!file.isFile() || !file.name.endsWith('.ts')) continue
    const path = join(file.parentPath, file.name)
    sources.set(relative(directory, path).split(sep).join('/'), readFileSync(path, 'utf8'))
  }
  return sources
}

test('every import in src/ points down, no room reaches itself, and every file is in a room', () => {
  const sources = readSources(SOURCE)
  assert.ok(sources.size > 50, `only ${sources.size} sources found`)
  assert.ok(arrowsOf(sources).length > 50, 'imports between rooms were found')
  assert.deepEqual(faultsOf(sources), [])
})

test('the allowed arrows have no cycle themselves', () => {
  const arrows = Object.entries(ROOMS).flatMap(([from, below]) =>
    below.map((to) => ({ from: `${from}/x.ts`, to: `${to}/x.ts` })),
  )
  assert.deepEqual(cyclesOf(arrows), [])
})

const HOUSE: Readonly<Record<string, string>> = {
  'node.ts': "import { Cluster } from './cluster/cluster.js'\nimport { Broker } from './broker/broker.js'",
  'cluster/cluster.ts':
    "import type { Forwarder } from '../broker/ports.js'\nimport type { Config } from '../config/options.js'",
  'broker/broker.ts':
    "import { Connection } from '../mqtt/connection.js'\nimport { Router } from '../router/router.js'",
  'broker/ports.ts': "import type { Message } from '../mqtt/wire/message.js'",
  'mqtt/connection.ts': "import { Session } from './session/session.js'\nimport { decode } from './wire/decode.js'",
  'mqtt/session/session.ts': "import type { Message } from '../wire/message.js'",
  'mqtt/wire/message.ts': "import { Buffer } from 'node:buffer'",
  'mqtt/wire/decode.ts': "import type { Message } from './message.js'",
  'router/router.ts': "import type { Message } from '../mqtt/wire/message.js'",
  'store/memory-store.ts': "import type { Store } from '../broker/ports.js'",
  'config/options.ts': "import { z } from 'zod'",
  'util/turn.ts': '',
}

test('a sound house has no faults', () => {
  assert.deepEqual(faultsOf(new Map(Object.entries(HOUSE))), [])
})

const FAULTY: readonly (readonly [what: string, path: string, text: string, fault: string])[] = [
  [
    'an upward import',
    'mqtt/listener.ts',
    "import { Broker } from '../broker/broker.js'",
    'mqtt/listener.ts imports broker/broker.ts: mqtt must not know broker',
  ],
  [
    'an upward import of a type',
    'router/route-table.ts',
    "import type { Forwarder } from '../broker/ports.js'",
    'router/route-table.ts imports broker/ports.ts: router must not know broker',
  ],
  [
    'an upward import over several lines',
    'mqtt/wire/encode.ts',
    "import {\n  type Session,\n  other,\n} from '../session/session.js'",
    'mqtt/wire/encode.ts imports mqtt/session/session.ts: mqtt/wire must not know mqtt/session',
  ],
  [
    'an upward re-export',
    'mqtt/session/ids.ts',
    "export { Connection } from '../connection.js'",
    'mqtt/session/ids.ts imports mqtt/connection.ts: mqtt/session must not know mqtt',
  ],
  [
    'an upward import at run time',
    'util/late.ts',
    "const late = await import('../node.js')",
    'util/late.ts imports node.ts: util must not know node',
  ],
  [
    'siblings that know each other',
    'store/redis-store.ts',
    "import { Cluster } from '../cluster/cluster.js'",
    'store/redis-store.ts imports cluster/cluster.ts: store must not know cluster',
  ],
  [
    'mqtt that knows the router',
    'mqtt/dispatch.ts',
    "import { Router } from '../router/router.js'",
    'mqtt/dispatch.ts imports router/router.ts: mqtt must not know router',
  ],
  [
    'a leaf that knows more than util',
    'telemetry/logger.ts',
    "import type { Config } from '../config/options.js'",
    'telemetry/logger.ts imports config/options.ts: telemetry must not know config',
  ],
  ['an unknown room', 'helpers/all.ts', '', 'helpers/all.ts is in no known room'],
  ['an unknown file beside the rooms', 'utils.ts', '', 'utils.ts is in no known room'],
  [
    'an import of nothing',
    'broker/will.ts',
    "import { Gone } from '../mqtt/gone.js'",
    'broker/will.ts imports mqtt/gone.ts, which is not there',
  ],
]

for (const [what, path, text, fault] of FAULTY) {
  test(`${what} is found`, () => {
    assert.ok(faultsOf(new Map([...Object.entries(HOUSE), [path, text]])).includes(fault))
  })
}

test('a cycle between rooms is named', () => {
  const sources = new Map([...Object.entries(HOUSE), ['mqtt/x.ts', "import '../broker/broker.js'"]])
  assert.ok(faultsOf(sources).includes('cycle: broker → mqtt → broker'))
})

test('imports in comments are none', () => {
  const text = "// import { Broker } from '../broker/broker.js'\n/* import '../node.js' */\nconst word = 'import'"
  assert.deepEqual(faultsOf(new Map([...Object.entries(HOUSE), ['mqtt/y.ts', text]])), [])
})
