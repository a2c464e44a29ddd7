/**
 * One run: a cluster under load, one fault after the other, and after each of them, once it is quiet, the checker's word on
 * all that was seen since the one before.
 */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../support/eventually.js'
import type { NodeProcess } from '../../support/node-process.js'
import { Random } from '../../support/random.js'
import { assertLinked } from '../mesh/checks.js'
import { type Fault, type FaultKind, Schedule } from '../mesh/schedule.js'
import { type Arena, type ArenaOptions, createArena, QUEUE_BOUNDS } from './arena.js'
import { check, type Violation, type ViolationKind } from './checker.js'
import type { FaultName, Happening, HistoryEvent } from './events.js'
import { type Guarantees, guaranteesOf } from './guarantees.js'
import { assertHeard } from './hearing.js'
import { HistoryLoad } from './load.js'
import { HistoryNemesis } from './nemesis.js'
import { QueueWatch } from './queue-watch.js'
import { Recorder } from './recorder.js'
import { report } from './report.js'
import { shortestOfEachKind } from './shortest.js'

/** Between faults sessions move; this long. */
const CALM_MS = 2_500
/** From a client being let in to its session being on the disk of its node. */
const ARRIVED_MS = 500
/** From a network being whole to all its links being up, on a machine that is busy. */
const LINKED_WITHIN_MS = 30_000
/**
 * From the last publish to everything having arrived. A node that waits for the time of a message looks at its clock
 * every 30 s at least, in case somebody has set it.
 */
const QUIET_WITHIN_MS = 40_000
const LOOK_EVERY_MS = 250

/** What may yet become right by waiting. */
const PATIENT: ReadonlySet<ViolationKind> = new Set([
  'missing',
  'missing in a group',
  'will missing',
  'retained',
  'two connections',
])

/** Of those that the nemesis does not note itself, when it ends a node. */
const FAULT_NAMES: Readonly<Partial<Record<FaultKind, FaultName>>> = {
  freeze: 'frozen',
  slow: 'slow',
  'disk full': 'full disk',
  clock: 'clock',
  'redis killed': 'store away',
  'redis frozen': 'store away',
  'redis failover': 'store away',
  'redis handover': 'store away',
  'redis cut': 'store away',
  'kill with a full disk': 'full disk',
  'kill while redis is away': 'store away',
}

export interface RunOptions extends Omit<ArenaOptions, 'environment'> {
  readonly minutes: number
  /** Faults at most; as many as there is time for by default. */
  readonly rounds?: number
  /** A file that is loaded into each node before it starts, with a fault of its own. */
  readonly plant?: string
  /** Of the nodes, as `log.level`; `info` by default. Their logs are kept when something is wrong. */
  readonly logLevel?: string
  readonly say: (text: string) => void
}

export interface Outcome {
  /** How many faults there were. */
  readonly rounds: number
  /** How many events were recorded. */
  readonly events: number
  readonly violations: readonly Violation[]
  /** For people; '' when nothing is wrong. */
  readonly report: string
}

/** @throws when the cluster itself does not do what is asked of it, such as to start, or to link up again */
export async function runHistory(options: RunOptions): Promise<Outcome> {
  const { plant, logLevel = 'info', say } = options
  const environment = {
    SHOALMQ_LOG__LEVEL: logLevel,
    ...(plant === undefined ? {} : { NODE_OPTIONS: `--import ${plant}` }),
  }
  const arena = await createArena({ ...options, environment })
  for (const problem of arena.problems) say(problem)
  const run = new Run(options, arena)
  try {
    await run.begin()
    return await run.go()
  } catch (error) {
    for (const node of arena.nodes) say(`--- ${node.name}\n${node.lastLines()}`)
    throw error
  } finally {
    await run.end()
    await arena.stop()
  }
}

class Run {
  private readonly recorder = new Recorder()
  private readonly guarantees: Guarantees
  private load: HistoryLoad | undefined
  private readonly queues: QueueWatch
  private readonly schedule: Schedule<FaultKind>
  private rounds = 0

  constructor(
    private readonly options: RunOptions,
    private readonly arena: Arena,
  ) {
    this.guarantees = guaranteesOf(options.store)
    this.queues = new QueueWatch(arena.nodes, this.recorder, QUEUE_BOUNDS)
    this.schedule = new Schedule(new Random(options.seed), arena.nodes.length, arena.faults)
  }

  async begin(): Promise<void> {
    const { nodes } = this.arena
    await Promise.all(nodes.map((node) => node.start()))
    await Promise.all(nodes.map((node) => node.whenReady()))
    await this.linked()
    // The load has numbers of its own: how far it gets is a matter of time, and the faults must not be.
    this.load = new HistoryLoad(nodes, new Random(this.options.seed + 1), this.recorder, this.guarantees)
    this.queues.start()
  }

  async go(): Promise<Outcome> {
    const { say } = this.options
    const load = this.theLoad()
    const nemesis = new HistoryNemesis(this.arena, load)
    const end = performance.now() + this.options.minutes * 60_000
    for (;;) {
      load.calm()
      await delay(CALM_MS)
      if (performance.now() >= end || this.rounds === this.options.rounds) break
      this.rounds += 1
      const fault = this.schedule.next()
      say(`${this.rounds}. ${fault.kind}: ${fault.text}`)
      load.stay()
      // A move that a fault meets on its way is one that may fail.
      await eventually(() => assert.deepEqual(load.moving(), []), { within: QUIET_WITHIN_MS })
      // A client is let in before all of its session is there.
      await delay(ARRIVED_MS)
      load.dismiss()
      this.noteFault(fault)
      await nemesis.strike(fault)
      await this.linked()
      await assertHeard(this.arena.nodes)
      this.recorder.note({ kind: 'healed' })
      await this.queues.look()
      load.calm()
      await delay(CALM_MS)
      const violations = await this.judge()
      if (violations.length > 0) return this.outcome(violations)
      load.resume()
    }
    return this.outcome(await this.judge())
  }

  async end(): Promise<void> {
    this.load?.stop()
    await this.queues.stop()
  }

  private theLoad(): HistoryLoad {
    if (this.load === undefined) throw new Error('the run has not begun')
    return this.load
  }

  private linked(): Promise<void> {
    return eventually(() => assertLinked(this.arena.nodes), { within: LINKED_WITHIN_MS, every: 100 })
  }

  private noteFault({ kind, rules, victim, apart, text }: Fault): void {
    const fault = FAULT_NAMES[kind] ?? (rules.length > 0 ? 'cut' : undefined)
    // Kills and drains are noted when they happen.
    if (fault === undefined) return
    const numbers = apart ?? (victim === undefined || kind.includes('redis') ? [] : [victim])
    const nodes = this.arena.nodes.filter((_, index) => numbers.includes(index + 1)).map(({ name }) => name)
    this.recorder.note({ kind: 'fault', fault, nodes, text: `${kind}: ${text}` })
  }

  /** Waits until everything has arrived, as long as that may take; then begins a new history. */
  private async judge(): Promise<Violation[]> {
    const started = performance.now()
    const load = this.theLoad()
    load.pause()
    const deadline = performance.now() + QUIET_WITHIN_MS
    for (;;) {
      const unsettled = load.unsettled()
      const isLate = performance.now() >= deadline
      if (unsettled.length === 0 || isLate) {
        await this.queues.look()
        const reads = await load.readRetained()
        const tail = ([{ kind: 'quiet' }, ...reads] as Happening[]).map((one) => this.recorder.timed(one))
        const violations = check([...this.recorder.events, ...tail], this.guarantees)
        // What is wrong for good is told together with what is still wrong when there is no more time.
        const isFinal = isLate || (violations.length > 0 && violations.every(({ kind }) => !PATIENT.has(kind)))
        if (violations.length === 0 && unsettled.length === 0) {
          this.settle(started)
          this.queues.forget()
          this.recorder.turnPage([...load.preface(), ...asWritten(reads)])
          return []
        }
        if (isFinal) {
          this.recorder.add(tail)
          if (violations.length === 0) throw new Error(`not within ${QUIET_WITHIN_MS} ms: ${unsettled.join(', ')}`)
          return violations
        }
      }
      await delay(LOOK_EVERY_MS)
    }
  }

  private settle(started: number): void {
    const { events } = this.recorder
    const count = (kind: HistoryEvent['kind']): number => events.filter((event) => event.kind === kind).length
    this.options.say(
      `   ${count('acked')} acknowledged, ${count('receive')} received, ${count('connected')} connections, ${count('written')} retained; quiet after ${Math.round(performance.now() - started)} ms, nothing wrong`,
    )
  }

  /** What its present life has logged. */
  private keepLog(node: NodeProcess): string {
    const file = join(tmpdir(), `shoalmq-history-${this.options.seed}-${node.name}.log`)
    writeFileSync(file, node.text())
    return file
  }

  private outcome(violations: readonly Violation[]): Outcome {
    const { rounds, recorder, options } = this
    const base = { rounds, events: recorder.counted, violations }
    if (violations.length === 0) return { ...base, report: '' }
    const shortest = shortestOfEachKind(recorder.events, violations, this.guarantees)
    const file = join(tmpdir(), `shoalmq-history-${options.seed}.jsonl`)
    recorder.write(file)
    const text = report(options.seed, recorder.events, violations, shortest)
    const logs = this.arena.nodes.map((node) => this.keepLog(node))
    return {
      ...base,
      report: `${text}\n\nthe whole history of this round: ${file}\nwhat the nodes have logged: ${logs.join(' ')}`,
    }
  }
}

/** What was found, the same on every node, is the last value there is, in the history that begins. */
function asWritten(reads: readonly Happening[]): Happening[] {
  const values = new Map(reads.flatMap((read) => (read.kind === 'read' ? [[read.topic, read] as const] : [])))
  return [...values.values()].flatMap(({ node, topic, value }): Happening[] => [
    { kind: 'write', writer: 'before', node, topic, value },
    { kind: 'written', writer: 'before', topic, value },
  ])
}
