/**
 * The clients of a chaos run. On every node: a subscriber to everything, a publisher of numbered messages, a client that
 * subscribes and leaves all the time, a member of a group; and a few client IDs that come to one node after the other.
 */

import { setTimeout as delay } from 'node:timers/promises'
import { TestClient } from '../../support/client.js'
import type { NodeProcess } from '../../support/node-process.js'
import type { Random } from '../../support/random.js'
import { Ledger } from './ledger.js'

const PUBLISH_EVERY_MS = 40
const CHURN_EVERY_MS = 40
const CHURNED_FILTERS = 60
const CONTEST_EVERY_MS = 250
const CONTESTED_IDS = 4
const RETRY_MS = 200

/** The clients of one node, of one of its lives. */
interface Station {
  readonly subscriber: TestClient
  readonly member: TestClient
  /** Ends the publisher and the churner. */
  readonly stop: AbortController
  /** Whose numbers its publisher sends. */
  readonly publisher: string
}

export class Load {
  readonly ledger = new Ledger()
  private readonly stations = new Map<string, Station>()
  private readonly contested: TestClient[] = []
  private readonly stop = new AbortController()
  private contest: Promise<void> = Promise.resolve()
  private isChurning = true
  private lives = 0
  private readonly failed: string[] = []
  /** Nodes whose publisher is silent for now. */
  private readonly muted = new Set<string>()

  constructor(
    private readonly nodes: readonly NodeProcess[],
    private readonly random: Random,
  ) {}

  async start(): Promise<void> {
    for (const node of this.nodes) await this.occupy(node)
    this.contest = this.contestIds()
  }

  /** Clients of a node that has started. */
  async occupy(node: NodeProcess): Promise<void> {
    this.lives += 1
    const name = `${node.name}.${this.lives}`
    const [subscriber, member, publisher, churner] = await Promise.all(
      ['subscriber', 'member', 'publisher', 'churner'].map((role) =>
        TestClient.connect(urlOf(node), { clientId: `${role}-${name}`, keepalive: 0 }),
      ),
    )
    if (subscriber === undefined || member === undefined || publisher === undefined || churner === undefined) return
    subscriber.mqtt.on('message', (topic, payload) => {
      if (topic.startsWith('load/')) this.ledger.noteReceived(node.name, payload.toString())
    })
    await subscriber.subscribe(['load/#', 'probe/#'], 1)
    await member.subscribe('$share/group/shared/#', 1)
    this.ledger.begin(node.name)
    const stop = new AbortController()
    this.watch(this.publish(publisher, node.name, name, stop.signal), `the publisher on ${name}`, stop.signal)
    this.watch(this.churn(churner, name, stop.signal), `the subscriber that comes and goes on ${name}`, stop.signal)
    this.stations.set(node.name, { subscriber, member, stop, publisher: name })
  }

  /** Gives clients to the nodes that have none. */
  async occupyAll(): Promise<void> {
    for (const node of this.nodes) if (!this.stations.has(node.name)) await this.occupy(node)
  }

  /** Clients that failed although their node was not killed. */
  get failures(): readonly string[] {
    return this.failed
  }

  /** True when the publisher of a node waits for no acknowledgement. */
  isSettled(node: NodeProcess): boolean {
    const station = this.stations.get(node.name)
    return station === undefined || this.ledger.isSettled(station.publisher)
  }

  /** The node is killed: its clients go, and what they had is not asked for. */
  vacate(node: NodeProcess): void {
    const station = this.stations.get(node.name)
    if (station === undefined) return
    this.stations.delete(node.name)
    this.ledger.end(node.name)
    station.stop.abort()
    station.subscriber.drop()
    station.member.drop()
  }

  /** Its publisher says nothing until `unmute`: what it would be told is kept is in the memory of its node only. */
  mute(node: NodeProcess): void {
    this.muted.add(node.name)
  }

  unmute(): void {
    this.muted.clear()
  }

  /** Nobody moves here. */
  divide(): void {}

  /** No subscription comes or goes until `resume`, so that routes can be compared. */
  pause(): void {
    this.isChurning = false
  }

  resume(): void {
    this.isChurning = true
  }

  /** A QoS 1 message from each node, which every subscriber has to get. Returns the payload of each. */
  async probe(round: number): Promise<string[]> {
    return Promise.all(
      this.nodes.map(async (node) => {
        const client = await TestClient.connect(urlOf(node), { clientId: `probe-${node.name}` })
        const payload = `probe ${round} from ${node.name}`
        await client.publish('probe/x', payload, { qos: 1 })
        await client.publish('shared/x', payload, { qos: 1 })
        client.drop()
        return payload
      }),
    )
  }

  /** Which of these have not come to a subscriber, or not to exactly one member of the group. */
  deaf(payloads: readonly string[]): string[] {
    const problems: string[] = []
    for (const [node, { subscriber }] of this.stations) {
      const got = new Set(subscriber.payloads('probe/x'))
      for (const payload of payloads)
        if (!got.has(payload)) problems.push(`the subscriber on ${node} has no "${payload}"`)
    }
    const shared = [...this.stations.values()].flatMap(({ member }) => member.payloads('shared/x'))
    for (const payload of payloads) {
      const times = shared.filter((one) => one === payload).length
      if (times !== 1) problems.push(`${times} members of the group have "${payload}"`)
    }
    return problems
  }

  async end(): Promise<void> {
    this.stop.abort()
    for (const { stop } of this.stations.values()) stop.abort()
    for (const { subscriber, member } of this.stations.values()) {
      subscriber.drop()
      member.drop()
    }
    await this.contest
    for (const client of this.contested) client.drop()
  }

  private watch(work: Promise<void>, who: string, signal: AbortSignal): void {
    work.catch((error: unknown) => {
      if (!signal.aborted) this.failed.push(`${who}: ${String(error)}`)
    })
  }

  private async publish(client: TestClient, node: string, name: string, signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => client.drop(), { once: true })
    for (let number = 1; !signal.aborted; ) {
      if (!this.muted.has(node)) {
        this.ledger.noteSent(name, number)
        await client.publish(`load/${node}`, `${name} ${number}`, { qos: 1 })
        this.ledger.noteAcknowledged(name, number)
        number += 1
      }
      await delay(PUBLISH_EVERY_MS)
    }
  }

  private async churn(client: TestClient, name: string, signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => client.drop(), { once: true })
    const held = new Set<string>()
    while (!signal.aborted) {
      const filter = `churn/${name}/${this.random.below(CHURNED_FILTERS)}/+`
      if (this.isChurning && held.delete(filter)) await client.unsubscribe(filter)
      else if (this.isChurning) {
        await client.subscribe(filter, 1)
        held.add(filter)
      }
      await delay(CHURN_EVERY_MS)
    }
  }

  /** Client IDs go from node to node without a word, also while nodes cannot hear each other. */
  private async contestIds(): Promise<void> {
    while (!this.stop.signal.aborted) {
      const clientId = `contested-${this.random.below(CONTESTED_IDS)}`
      const node = this.random.pick(this.nodes)
      if (this.isChurning && this.stations.has(node.name)) {
        try {
          this.contested.push(await TestClient.connect(urlOf(node), { clientId, connectTimeout: 2_000 }))
        } catch (error) {
          // The node is frozen or has just been killed; or the ID has come to another one meanwhile.
          if (!(error instanceof Error)) throw error
          await delay(RETRY_MS)
        }
      }
      for (const [index, client] of [...this.contested.entries()].reverse()) {
        if (!client.isConnected) this.contested.splice(index, 1)
      }
      await delay(CONTEST_EVERY_MS)
    }
  }
}

function urlOf(node: NodeProcess): string {
  return `mqtt://${node.host}:${node.ports.mqtt}`
}
