/** The clients of a run: who they are, when they rest, and what of them still counts when a new history begins. */

import type { NodeProcess } from '../../support/node-process.js'
import type { Random } from '../../support/random.js'
import type { Bystanders } from '../mesh/nemesis.js'
import type { WireRule } from '../mesh/network.js'
import type { Happening } from './events.js'
import type { Guarantees } from './guarantees.js'
import { Hoard } from './hoard.js'
import { Mourned } from './mourned.js'
import { HistoryPublisher } from './publisher.js'
import type { Recorder } from './recorder.js'
import { RetainedWriter, readRetained, STATE } from './retained-values.js'
import { Rivals } from './rivals.js'
import { HistorySubscriber, type SubscriberOptions, WILLS } from './subscriber.js'
import { Whereabouts } from './whereabouts.js'

const ROAMERS = 3
/** Of the writer who has many. */
const RETAINED_TOPICS = 48
/** How late those that take their time acknowledge, in milliseconds. */
const LATE_MS = 40
const MOVE_PUBLISHER_EVERY_MS = 1_500
/** Of the messages that are published with one, in seconds. */
const DELAY_S = 1

export class HistoryLoad implements Bystanders {
  private readonly whereabouts: Whereabouts
  private readonly publishers: HistoryPublisher[]
  private readonly subscribers: HistorySubscriber[]
  private readonly writers: RetainedWriter[]
  private readonly rivals: Rivals
  private readonly mourned: Mourned
  private readonly hoard: Hoard
  private readonly mover: NodeJS.Timeout
  private readonly muted = new Set<NodeProcess>()
  private isPaused = false

  constructor(
    private readonly nodes: readonly NodeProcess[],
    random: Random,
    private readonly recorder: Recorder,
    private readonly guarantees: Guarantees,
  ) {
    const whereabouts = new Whereabouts(nodes, random)
    this.whereabouts = whereabouts
    const subscriber = (options: SubscriberOptions, node: NodeProcess): HistorySubscriber =>
      new HistorySubscriber(options, node, recorder, whereabouts)
    this.publishers = nodes.map(
      (node, index) => new HistoryPublisher(`publisher-${index + 1}`, node, recorder, whereabouts),
    )
    this.publishers.push(new HistoryPublisher('publisher-late', whereabouts.any(), recorder, whereabouts, DELAY_S))
    this.subscribers = nodes.flatMap((node, index) => [
      subscriber({ name: `stays-${index + 1}`, filter: 'load/#', patience: 0, habit: 'stays' }, node),
      subscriber({ name: `away-${index + 1}`, filter: 'load/#', patience: 0, habit: 'away' }, node),
      subscriber({ name: `member-${index + 1}`, filter: '$share/crew/load/#', patience: 0, habit: 'stays' }, node),
    ])
    this.subscribers.push(
      subscriber({ name: 'roams-late', filter: 'later/#', patience: 0, habit: 'roams' }, whereabouts.any()),
      subscriber({ name: 'away-late', filter: 'later/#', patience: LATE_MS, habit: 'away' }, whereabouts.any()),
      subscriber({ name: 'mourner', filter: `${WILLS}#`, patience: 0, habit: 'stays' }, whereabouts.any()),
    )
    for (let index = 1; index <= ROAMERS; index += 1) {
      const patience = index % 2 === 0 ? LATE_MS : 0
      const filter = index === ROAMERS ? 'load/+/2' : 'load/#'
      this.subscribers.push(subscriber({ name: `roams-${index}`, filter, patience, habit: 'roams' }, whereabouts.any()))
    }
    const many = Array.from({ length: RETAINED_TOPICS }, (_, index) => `${STATE}many/${index}`)
    this.writers = [[`${STATE}1`], [`${STATE}2`], many].map(
      (topics, index) => new RetainedWriter(`writer-${index + 1}`, topics, whereabouts.any(), recorder, whereabouts),
    )
    this.rivals = new Rivals(recorder, whereabouts)
    this.mourned = new Mourned(recorder, whereabouts)
    this.hoard = new Hoard(whereabouts.any(), recorder, whereabouts)
    this.mover = setInterval(() => {
      if (whereabouts.mayMove) random.pick(this.publishers).move()
    }, MOVE_PUBLISHER_EVERY_MS)
  }

  /** The network is whole, and every node runs: sessions move from node to node. */
  calm(): void {
    this.whereabouts.markUp(...this.nodes)
    this.whereabouts.mayMove = true
    this.hoard.visit()
  }

  /** Before a fault: sessions stay where they are. */
  stay(): void {
    this.whereabouts.mayMove = false
  }

  divide(rules: readonly WireRule[]): void {
    this.whereabouts.divide(rules)
  }

  /** Whose session may be on its way to another node. */
  moving(): string[] {
    return [
      ...this.publishers.flatMap(({ connection, name }) => (connection === undefined ? [name] : [])),
      ...this.subscribers.flatMap(({ isMoving, options }) => (isMoving ? [options.name] : [])),
      ...(this.hoard.isAway ? [] : ['the hoarder']),
    ]
  }

  /** Some clients go away. */
  dismiss(): void {
    for (const one of this.subscribers) if (one.options.habit === 'away') one.dismiss()
  }

  /** Nobody publishes and nobody goes anywhere; everybody is there. */
  pause(): void {
    this.isPaused = true
    this.whereabouts.mayMove = false
    this.applyPauses()
    for (const one of this.subscribers) one.call()
  }

  resume(): void {
    this.isPaused = false
    this.applyPauses()
  }

  /** Who is not connected, or still waits for an answer; nobody, some time after `pause`. */
  unsettled(): string[] {
    return [
      ...this.publishers.flatMap(({ isSettled, name }) => (isSettled ? [] : [`${name} waits for acknowledgements`])),
      ...this.publishers.flatMap(({ isDue, name }) => (isDue ? [] : [`the last of ${name} is not due`])),
      ...this.writers.flatMap(({ isSettled, name }) => (isSettled ? [] : [`${name} waits for an acknowledgement`])),
      ...this.subscribers.flatMap(({ isThere, options }) => (isThere ? [] : [`${options.name} is not subscribed`])),
      ...(this.mourned.size === 0 ? [] : ['clients with a will are not gone yet']),
      ...(this.hoard.isAway ? [] : ['the hoarder is not gone yet']),
    ]
  }

  /** What is retained, on every node. */
  async readRetained(): Promise<Happening[]> {
    const topics = this.writers.flatMap((writer) => writer.topics)
    return (await Promise.all(this.nodes.map((node) => readRetained(node, topics)))).flat()
  }

  /** What of the clients counts from now on: sessions, connections, and up to where streams were right. */
  preface(): Happening[] {
    return [
      ...this.publishers.flatMap(({ name, connection, node }) => connected(name, connection, node)),
      ...this.subscribers.flatMap(({ options: { name, filter }, connection, node }): Happening[] => [
        ...connected(name, connection, node),
        { kind: 'subscribed', client: name, filter },
      ]),
      ...this.hoard.preface(),
      ...this.rivals
        .connections()
        .map((one): Happening => ({ kind: 'connected', ...one, sessionPresent: false, clean: true })),
      ...this.publishers.flatMap((one) => one.settled()).map((one): Happening => ({ kind: 'settled', ...one })),
    ]
  }

  vacate(node: NodeProcess, how: 'killed' | 'drained'): void {
    // A session that is on the disk of its node waits there, and so does its client.
    const { sessionsOutliveKill, sessionsAreAdopted } = this.guarantees
    if (how === 'drained' || !sessionsOutliveKill || sessionsAreAdopted) this.whereabouts.markDown(node)
    // Who is away stays so; who was there comes to another node as soon as it is told.
    this.recorder.note({ kind: 'fault', fault: how, nodes: [node.name], text: `${node.name} is ${how}` })
  }

  /** The node runs again, while others may not. */
  returns(node: NodeProcess): void {
    this.whereabouts.markUp(node)
  }

  mute(node: NodeProcess): void {
    this.muted.add(node)
    this.applyPauses()
  }

  unmute(): void {
    this.muted.clear()
    this.applyPauses()
  }

  isSettled(node: NodeProcess): boolean {
    return [...this.publishers, ...this.writers].every((one) => one.node !== node || one.isSettled)
  }

  stop(): void {
    clearInterval(this.mover)
    this.rivals.stop()
    this.mourned.stop()
    this.hoard.stop()
    for (const one of [...this.publishers, ...this.subscribers, ...this.writers]) one.stop()
  }

  private applyPauses(): void {
    for (const one of [...this.publishers, ...this.writers]) one.isPaused = this.isPaused || this.muted.has(one.node)
    this.rivals.isPaused = this.isPaused
    this.hoard.isPaused = this.isPaused
    this.mourned.isPaused = this.isPaused
  }
}

function connected(client: string, connection: number | undefined, { name }: NodeProcess): Happening[] {
  if (connection === undefined) return []
  return [{ kind: 'connected', client, connection, node: name, sessionPresent: false, clean: false }]
}
