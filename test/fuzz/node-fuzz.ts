/**
 * A run of inputs against a node in a process of its own, beside two clients that behave. Afterwards the node must
 * serve as before: nothing of it has failed, its gauges are back and so is its memory.
 */

import assert from 'node:assert/strict'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { TestCluster } from '../support/cluster.js'
import { eventually } from '../support/eventually.js'
import type { ConfigTree, NodeProcess } from '../support/node-process.js'
import type { Scrape } from '../support/prometheus.js'
import { FuzzFailure } from './failure.js'
import { HealthyPair } from './healthy-pair.js'
import type { Inputs } from './inputs.js'
import { checkRunning, Judge } from './judge.js'
import { shrink } from './shrink.js'
import { Thrower } from './thrower.js'

const COLLECT_GARBAGE = pathToFileURL(fileURLToPath(new URL('./collect-garbage.mjs', import.meta.url))).href

/** Connections at once. */
const CONCURRENCY = 96
/** Inputs after which the memory is read for the first time: code is compiled, caches and pools have their size. */
const WARM_UP_INPUTS = 20_000
const CHECK_EVERY_INPUTS = 500
const SHRINK_LIMITS = { attempts: 2_000, within: 120_000 }
/** How many of the last inputs are tried again when something has failed. */
const SUSPECTS = 1_000
/** How long sessions of clients that are gone may take to end: their expiry, and the steps of the timer wheel. */
const SETTLE_TIMEOUT_MS = 30_000
/**
 * What memory may differ by, with all garbage collected: the heap by what caches hold whatever the number of inputs
 * (matched topics, retained messages, compiled code), the process by what the allocator keeps of its peak.
 */
const HEAP_TOLERANCE_BYTES = 8 * 1024 * 1024
const RESIDENT_TOLERANCE_BYTES = 64 * 1024 * 1024

/** Everything that outlives a connection ends soon, so that the gauges have somewhere to go back to. */
const CONFIG: ConfigTree = {
  mqtt: {
    maximumPacketSize: '64kb',
    sessionExpiryLimit: '2s',
    connectTimeout: '2s',
    drainTimeout: '2s',
    queueHoldTime: '100ms',
    retainedMessages: 200,
    matchCacheTopics: 500,
  },
}

/** Gauges that must be back where they were, beside the retained messages, which have no end. */
const GAUGES = ['shoalmq_connections', 'shoalmq_sessions', 'shoalmq_subscriptions', 'shoalmq_inflight_messages']

export interface NodeReport {
  inputs: number
  seconds: number
  /** Connections that the system had to be asked for again. */
  retries: number
  bytesSent: number
  bytesReceived: number
  healthyMessages: number
  memory: { before: Memory; after: Memory }
  /** Why the node has closed connections, and how often. */
  closed: Record<string, number>
}

interface Memory {
  heapBytes: number
  residentBytes: number
}

export interface NodeFuzzOptions {
  first?: number
  count: number
  /** Ends the run early, in milliseconds. */
  within?: number
  /** Told now and then how far the run is. */
  progress?: (done: number) => void
  /** Told of a failure at once; what follows is the search for the input that did it. */
  failed?: (error: unknown) => void
}

/** @throws FuzzFailure */
export async function fuzzNode(inputs: Inputs, options: NodeFuzzOptions): Promise<NodeReport> {
  const cluster = await startNode()
  const node = cluster.node(1)
  const thrower = new Thrower({ tcp: node.ports.mqtt, websocket: node.ports.ws }, CONCURRENCY)
  const { first = 0 } = options
  let index = first
  try {
    const before = await gaugesOf(node)
    const pair = await HealthyPair.connect(node.ports.mqtt)
    const start = performance.now()
    const deadline = start + (options.within ?? Number.POSITIVE_INFINITY)
    const warm = first + Math.min(WARM_UP_INPUTS, Math.ceil(options.count / 4))
    let memory: Memory | undefined
    for (; index < first + options.count && performance.now() < deadline; index += 1) {
      await thrower.throw(index, inputs.at(index))
      if (index % CHECK_EVERY_INPUTS === 0) {
        checkRunning(node, thrower, pair)
        options.progress?.(index - first)
      }
      if (index === warm) memory = await memoryOf(node)
    }
    await thrower.drained()
    const seconds = (performance.now() - start) / 1_000
    checkRunning(node, thrower, pair)
    await pair.stop()
    await eventually(async () => assert.deepEqual(await gaugesOf(node), before), { within: SETTLE_TIMEOUT_MS })
    const scrape = await node.metrics()
    assert.equal(scrape.value('shoalmq_connections_closed_total', { reason: 'internal_error' }), 0, 'internal errors')
    const after = await memoryOf(node)
    memory ??= after
    assertMemory(memory, after)
    return {
      inputs: index - first,
      seconds,
      retries: thrower.retries,
      bytesSent: thrower.bytesSent,
      bytesReceived: thrower.bytesReceived,
      healthyMessages: pair.count,
      memory: { before: memory, after },
      closed: closedOf(scrape),
    }
  } catch (error) {
    options.failed?.(error)
    thrower.stop()
    throw await explain(error, inputs, index, thrower)
  } finally {
    await cluster.stop().catch(() => undefined)
  }
}

/** A node in which everything that outlives a connection ends soon. */
export async function startNode(): Promise<TestCluster> {
  const cluster = await TestCluster.create({
    nodes: 1,
    config: CONFIG,
    environment: { NODE_OPTIONS: `--import ${COLLECT_GARBAGE}` },
  })
  await cluster.start()
  return cluster
}

async function gaugesOf(node: NodeProcess): Promise<Record<string, number>> {
  const scrape = await node.metrics()
  return Object.fromEntries(GAUGES.map((name) => [name, scrape.value(name)]))
}

async function memoryOf(node: NodeProcess): Promise<Memory> {
  let memory = { heapBytes: Number.POSITIVE_INFINITY, residentBytes: Number.POSITIVE_INFINITY }
  // The signal is handled when the loop comes to it, and buffers are given back some turns later.
  for (let round = 0; round < 3; round += 1) {
    process.kill(node.pid, 'SIGUSR2')
    const scrape = await node.metrics()
    const heapBytes = scrape.value('nodejs_heap_size_used_bytes') + scrape.value('nodejs_external_memory_bytes')
    const residentBytes = scrape.value('process_resident_memory_bytes')
    if (heapBytes < memory.heapBytes) memory = { heapBytes, residentBytes }
  }
  return memory
}

function assertMemory(before: Memory, after: Memory): void {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
  const said = (kind: string, from: number, to: number): string =>
    `the ${kind} has grown from ${megabytes(from)} to ${megabytes(to)}`
  const { heapBytes, residentBytes } = before
  assert.ok(after.heapBytes - heapBytes <= HEAP_TOLERANCE_BYTES, said('heap', heapBytes, after.heapBytes))
  const resident = after.residentBytes - residentBytes
  assert.ok(resident <= RESIDENT_TOLERANCE_BYTES, said('process', residentBytes, after.residentBytes))
}

function closedOf(scrape: Scrape): Record<string, number> {
  const closed: Record<string, number> = {}
  for (const reason of scrape.labels('shoalmq_connections_closed_total', 'reason')) {
    const value = scrape.value('shoalmq_connections_closed_total', { reason })
    if (value > 0) closed[reason] = value
  }
  return closed
}

/**
 * Finds the input that did it: those that were on their way or had just been are sent again, one after the other; the
 * one that fails then is made shorter.
 */
async function explain(error: unknown, inputs: Inputs, index: number, thrower: Thrower): Promise<FuzzFailure> {
  const { seed } = inputs
  const late = [...thrower.underWay].map((thrown) => thrown.index)
  const recent = Array.from({ length: SUSPECTS }, (_, back) => index - back).filter((one) => one >= 0)
  const judge = new Judge(startNode)
  try {
    for (const suspect of new Set([...late, ...recent])) {
      const { version, wire, transport } = inputs.at(suspect)
      const whole = Buffer.concat(wire)
      const fails = async (bytes: Buffer): Promise<boolean> => (await judge.failureOf(bytes, transport)) !== undefined
      // Twice: on a node that other suspects have been at, and alone.
      if (!(await fails(whole)) || !(await fails(whole))) continue
      const bytes = await shrink(whole, fails, SHRINK_LIMITS)
      return new FuzzFailure('node', { seed, index: suspect, version, transport, bytes }, error)
    }
  } finally {
    await judge.stop()
  }
  const { version, transport } = inputs.at(index)
  return new FuzzFailure('node', { seed, index, version, transport, bytes: undefined }, error)
}
