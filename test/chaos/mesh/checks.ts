/** What has to be true of a mesh once its network is whole again; each check throws with what is not. */

import assert from 'node:assert/strict'
import type { RouteDescription, RouteVerification } from '../../../src/admin/api.js'
import type { Page } from '../../../src/admin/page.js'
import type { ClientDescription } from '../../../src/broker/client-list.js'
import type { Alarm } from '../../../src/telemetry/alarms.js'
import { eventually } from '../../support/eventually.js'
import type { LogLine, NodeProcess } from '../../support/node-process.js'
import type { Load } from './load.js'

/**
 * From the network being whole to every link being up: a dial whose SYN was lost twice is given up and made again within
 * 4 s, if the other side's is not there before; its handshake, and a loaded machine.
 */
const LINKED_WITHIN_MS = 6_000
/** From the links being up to routes and connections being right. */
const RIGHT_WITHIN_MS = 2_000
const DELIVERED_WITHIN_MS = 8_000
const CLEARED_WITHIN_MS = 8_000

/** Far above what these nodes need, far below what a queue without bound would take. */
const MAXIMUM_MEMORY_BYTES = 700 * 1024 * 1024
const ERROR_LEVEL = 50

export interface RoundTimes {
  /** Milliseconds from the network being whole. */
  linked: number
  /** Milliseconds from the links being up. */
  right: number
  /** That were compared: those of each node, on each node. */
  routes: number
}

/** Everything, in the order in which it was promised. @param round tells the probes of one round from those of others */
export async function checkHealed(nodes: readonly NodeProcess[], load: Load, round: number): Promise<RoundTimes> {
  const healed = performance.now()
  await eventually(() => assertLinked(nodes), { within: LINKED_WITHIN_MS, every: 50 })
  const linked = performance.now()
  const routes = await eventually(
    async () => {
      await assertOneConnectionEach(nodes)
      return assertSameRoutes(nodes)
    },
    { within: RIGHT_WITHIN_MS, every: 50 },
  )
  const right = performance.now()
  await assertVerified(nodes)
  await load.occupyAll()
  const probes = await load.probe(round)
  await eventually(() => assert.deepEqual(load.deaf(probes), []), { within: RIGHT_WITHIN_MS })
  await eventually(() => assert.deepEqual(load.ledger.missing().slice(0, 10), []), { within: DELIVERED_WITHIN_MS })
  assert.equal(load.ledger.disordered(), 0, 'messages are in the order of their publishers')
  await eventually(() => assertQuiet(nodes), { within: CLEARED_WITHIN_MS })
  assertHealthy(nodes)
  assert.deepEqual(load.failures, [])
  return { linked: Math.round(linked - healed), right: Math.round(right - linked), routes }
}

/** All nodes say that the nodes' views differ. */
export async function assertViewsDiffer(nodes: readonly NodeProcess[]): Promise<void> {
  for (const node of nodes) {
    const { data } = await node.ask<Page<Alarm>>('alarms?alarm=views_differ')
    assert.notEqual(data.length, 0, `${node.name} says that views differ`)
    assert.notEqual((await node.metrics()).value('shoalmq_views_differ'), 0)
  }
}

/** No node gave another up, whatever their network is like. */
export function assertNobodyDown(nodes: readonly NodeProcess[], since: number): void {
  for (const node of nodes) {
    const down = node
      .logs()
      .filter(({ msg, to, time }) => msg === 'peer state' && to === 'down' && Number(time) > since)
    assert.deepEqual(down, [], `${node.name} gives nobody up`)
  }
}

/** No process has ended by itself, none has logged an error, save those that are expected. */
export function assertHealthy(
  nodes: readonly NodeProcess[],
  isExpected: (line: LogLine) => boolean = () => false,
): void {
  for (const node of nodes) {
    assert.equal(node.isRunning, true, `${node.name} runs\n${node.lastLines()}`)
    const errors = node.logs().filter((line) => line.level >= ERROR_LEVEL && !isExpected(line))
    assert.deepEqual(errors, [], `${node.name} has no errors`)
  }
}

/** Every node sees every other, and has a link to it. */
export async function assertLinked(nodes: readonly NodeProcess[]): Promise<void> {
  for (const node of nodes) {
    const { nodes: seen } = await node.status()
    for (const { name } of nodes) {
      const one = seen.find((other) => other.name === name)
      const expected = name === node.name ? 'running self' : 'running up'
      assert.equal(`${one?.state} ${one?.link}`, expected, `${node.name} sees ${name}`)
    }
  }
}

/** What each node says it wants is what every other node has of it. Returns how many routes were compared. */
async function assertSameRoutes(nodes: readonly NodeProcess[]): Promise<number> {
  const tables = await Promise.all(
    nodes.map(async (node) => (await node.ask<Page<RouteDescription>>('routes?limit=10000')).data),
  )
  const filtersOf = (table: readonly RouteDescription[], name: string): string[] =>
    table.flatMap(({ filter, node }) => (node === name ? [filter] : [])).sort()
  for (const [index, owner] of nodes.entries()) {
    const own = filtersOf(tables[index] ?? [], owner.name)
    for (const [other, table] of tables.entries()) {
      const here = filtersOf(table, owner.name)
      const wrong = [...own.filter((one) => !here.includes(one)), ...here.filter((one) => !own.includes(one))]
      assert.deepEqual(wrong.slice(0, 5), [], `${nodes[other]?.name} has the routes of ${owner.name}`)
    }
  }
  return tables.reduce((sum, table) => sum + table.length, 0)
}

async function assertVerified(nodes: readonly NodeProcess[]): Promise<void> {
  await eventually(
    async () => {
      for (const node of nodes) {
        const { inStep, nodes: others } = await node.ask<{ inStep: boolean; nodes: RouteVerification[] }>(
          'routes/verify',
        )
        assert.equal(inStep && others.length === nodes.length - 1, true, `${node.name}: ${JSON.stringify(others)}`)
      }
    },
    { within: RIGHT_WITHIN_MS },
  )
}

async function assertOneConnectionEach(nodes: readonly NodeProcess[]): Promise<void> {
  const places = new Map<string, string[]>()
  for (const node of nodes) {
    const { data } = await node.ask<Page<ClientDescription>>('clients?connected=true&limit=10000')
    for (const { clientId } of data) places.set(clientId, [...(places.get(clientId) ?? []), node.name])
  }
  const doubled = [...places].filter(([, where]) => where.length > 1)
  assert.deepEqual(doubled, [], 'every client ID has one connection')
}

/** What waited has gone out, alarms have cleared, and nothing has grown. */
async function assertQuiet(nodes: readonly NodeProcess[]): Promise<void> {
  for (const node of nodes) {
    const metrics = await node.metrics()
    assert.equal(metrics.value('shoalmq_link_qos0_bytes'), 0, `${node.name}: QoS 0 bytes that wait`)
    assert.ok(metrics.value('shoalmq_link_unacked_bytes') < 64 * 1024, `${node.name}: bytes that wait`)
    assert.ok(metrics.value('process_resident_memory_bytes') < MAXIMUM_MEMORY_BYTES, `${node.name}: memory`)
    const { data } = await node.ask<Page<Alarm>>('alarms')
    // A link that has flapped is called so for another minute.
    const left = data.filter(({ alarm }) => alarm !== 'link_flapping')
    assert.deepEqual(left, [], `alarms of ${node.name}`)
  }
}
