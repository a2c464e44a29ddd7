/**
 * Nodes, the lines between them and one client with a session, all in this process: sessions, gates and moves are the
 * real ones, links are lists of what is under way, of which the test says what arrives next. Per pair of nodes and
 * direction there are three lines: for what is said at once, for routes, and for forwarded messages and marks.
 */

import assert from 'node:assert/strict'
import { pino } from 'pino'
import { DeliverySource } from '../../../src/broker/delivery-source.js'
import { createBrokerMetrics } from '../../../src/broker/metrics.js'
import { RetainedMessages } from '../../../src/broker/retained.js'
import { type MovableSessions, MovingSessions } from '../../../src/broker/session-moves.js'
import { SessionEntry } from '../../../src/broker/session-registry.js'
import { SubscriptionDesk } from '../../../src/broker/subscribe.js'
import type { Subscriber } from '../../../src/broker/subscriber.js'
import { type Addressee, ExtensionReader } from '../../../src/cluster/entry-extension.js'
import { RouteLog } from '../../../src/cluster/route-log.js'
import { SessionTakeover } from '../../../src/cluster/takeover/takeover.js'
import type { LinkBody } from '../../../src/cluster/wire.js'
import { DEFAULTS } from '../../../src/config/options.js'
import type { Connection } from '../../../src/mqtt/connection.js'
import type { Outlet } from '../../../src/mqtt/session/outlet.js'
import { type Hold, Session } from '../../../src/mqtt/session/session.js'
import { createSessionMetrics } from '../../../src/mqtt/session/session-metrics.js'
import { Message } from '../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../src/mqtt/wire/packets.js'
import { SharedGroups } from '../../../src/router/shared-groups.js'
import type { Subscription } from '../../../src/router/subscription-table.js'
import { SubscriptionTable } from '../../../src/router/subscription-table.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'
import type { TurnTask } from '../../../src/util/turn.js'
import { RecordingOutlet, type Sent } from '../mqtt/session/recording-outlet.js'

export const CLIENT = 'roamer'

/** What is under way from one node to another: words of the protocol, changes of routes, messages. */
type Parcel =
  | { readonly body: LinkBody }
  | { readonly routeVersion: number; readonly filters: readonly string[] }
  | { readonly message: Message; readonly addressee?: Addressee }

export class ModelNode implements MovableSessions {
  readonly metrics = new MetricRegistry()
  readonly takeover: SessionTakeover
  readonly timers = new TimerWheel()
  private readonly subscriptions = new SubscriptionTable<Subscriber>()
  private readonly groups: SharedGroups<Subscriber>
  private readonly desk: SubscriptionDesk
  private readonly source: DeliverySource
  private readonly routeLog: RouteLog
  private readonly entries = new Map<string, SessionEntry>()
  private readonly sessionMetrics = createSessionMetrics(this.metrics)
  /** Routes of the others, as far as they have arrived. */
  private readonly routes = new Map<string, { version: number; filters: readonly string[] }>()

  constructor(
    readonly name: string,
    private readonly network: Network,
  ) {
    this.groups = new SharedGroups<Subscriber>({ strategy: 'random', strategies: {}, node: name })
    this.source = new DeliverySource(name)
    this.routeLog = new RouteLog(this.subscriptions, () => this.tellRoutes())
    this.subscriptions.setListener(this.routeLog)
    const retained = new RetainedMessages(
      { maximum: 10, maximumBytes: 10_000 },
      { refused: createBrokerMetrics(new MetricRegistry()).retainedRefused, timers: this.timers },
    )
    this.desk = new SubscriptionDesk(DEFAULTS.mqtt, {
      subscriptions: this.subscriptions,
      groups: this.groups,
      retained,
      sys: undefined,
    })
    this.takeover = new SessionTakeover({
      self: name,
      send: (to, body) => network.post(name, to, 'words', { body }),
      mark: (to, value) => network.post(name, to, 'lane', { body: { $case: 'takeoverMark', value } }),
      peers: () => network.names.filter((other) => other !== name && !network.suspicions.has(`${name}>${other}`)),
      members: () => network.names.filter((other) => other !== name),
      debtors: () => network.names.filter((other) => other !== name),
      passOn: (to, message, head) => network.post(name, to, 'lane', { message, addressee: addresseeOf(head) }),
      routeVersion: () => this.routeLog.version,
      routeVersionOf: (peer) => this.routes.get(peer)?.version ?? 0,
      turns: { add: (task) => network.run(task) },
      sessions: new MovingSessions({
        sessions: this,
        adopter: this,
        desk: this.desk,
        groups: this.groups,
        source: this.source,
        onSpareDropped() {},
        deliverPassedOn: (session, message, pending) => {
          this.source.passOn(() => this.deliver(message, session, pending))
        },
        timers: this.timers,
        delayed: { inherit: (_, done) => done() },
        mayPublishAbsent: () => true,
        log: pino({ level: 'silent' }),
      }),
      isTaking: () => false,
      takers: () => [],
      whenPaid: (_within, done) => network.debts.push(done),
      isGone: (peer) => network.gone.has(`${name}>${peer}`),
      metrics: this.metrics,
      log: pino({ level: 'silent' }),
    })
  }

  /** Messages that wait since sessions move. */
  get waiting(): { readonly spares: number; readonly heldBack: number } {
    return this.source.waiting
  }

  get session(): Session | undefined {
    return this.entries.get(CLIENT)?.session
  }

  /** Of the session here; 0 without one. */
  get epoch(): number {
    return this.entries.get(CLIENT)?.epoch ?? 0
  }

  /** The session of a client that comes for the first time. */
  begin(filter: string, qos: QoS): Session {
    const session = this.session ?? this.make(CLIENT).session
    session.expiryInterval = 3_600
    this.desk.restore(session, filter, {
      qos,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
      subscriptionId: undefined,
    })
    return session
  }

  attach(outlet: Outlet): void {
    const entry = this.entries.get(CLIENT)
    assert(entry !== undefined, `a session is at ${this.name}`)
    entry.resume()
    entry.connection = { clientId: CLIENT } as Connection
    entry.session.attach(outlet)
  }

  detach(): void {
    const entry = this.entries.get(CLIENT)
    if (entry === undefined) return
    entry.session.detach()
    entry.connection = undefined
    entry.wait(undefined)
  }

  publish(topic: string, payload: string, qos: QoS): void {
    const message = Message.from(topic, Buffer.from(payload), { qos })
    this.deliver(message)
    for (const [peer, { filters }] of this.routes) {
      if (filters.includes(topic)) this.network.post(this.name, peer, 'lane', { message })
    }
  }

  receive(from: string, parcel: Parcel): void {
    if ('body' in parcel) {
      this.takeover.receive(from, parcel.body)
    } else if ('message' in parcel) {
      const { message, addressee } = parcel
      if (addressee !== undefined) return this.takeover.takePassedOn(from, addressee, message, undefined, true)
      this.source.node = from
      this.deliver(message)
      this.source.node = this.name
    } else {
      this.routes.set(from, { version: parcel.routeVersion, filters: parcel.filters })
      this.takeover.routesTaken(from)
    }
  }

  find(clientId: string): SessionEntry | undefined {
    return this.entries.get(clientId)
  }

  all(): Iterable<SessionEntry> {
    return this.entries.values()
  }

  adopt(): boolean {
    return false
  }

  publishWill(): void {}

  keepWaiting(): void {}

  mayPublishWill(): boolean {
    return true
  }

  make(clientId: string): SessionEntry {
    const before = this.entries.get(clientId)
    if (before !== undefined) this.forget(before)
    const { queueLength, queueBytes, inflightBytes, queueHoldTime } = DEFAULTS.mqtt
    const session = new Session(
      clientId,
      0,
      { queue: { length: queueLength, bytes: queueBytes }, inFlightBytes: inflightBytes, queueHoldTime },
      { timers: this.timers, metrics: this.sessionMetrics },
    )
    const entry = new SessionEntry(session, this.timers, {
      publishWill() {},
      endSession() {
        throw new Error('no session ends here')
      },
    })
    this.entries.set(clientId, entry)
    return entry
  }

  whenKept(_clientId: string, done: (isKept: boolean) => void): void {
    done(true)
  }

  arrived(_entry: SessionEntry, done: (isKept: boolean) => void): void {
    done(true)
  }

  moved(entry: SessionEntry): void {
    this.forget(entry)
  }

  forget(entry: SessionEntry): void {
    if (this.entries.get(entry.session.clientId) !== entry) return
    this.entries.delete(entry.session.clientId)
    entry.resume()
    this.desk.unsubscribeAll(entry.session)
    entry.session.endMoved()
  }

  discard(entry: SessionEntry): void {
    this.forget(entry)
  }

  keep(): void {}

  private deliver(message: Message, only?: Subscriber, pending?: Hold): void {
    const found: Subscription<Subscriber>[] = []
    this.subscriptions.matchInto(message.topic, found)
    for (const subscription of found) {
      const { subscriber } = subscription
      if (only === undefined || only === subscriber) subscriber.deliver(message, subscription, pending)
    }
  }

  private tellRoutes(): void {
    const parcel = { routeVersion: this.routeLog.version, filters: [...this.subscriptions.filters()] }
    for (const other of this.network.names) {
      if (other !== this.name) this.network.post(this.name, other, 'routes', parcel)
    }
  }
}

export class Network {
  readonly nodes: ModelNode[]
  private readonly lines = new Map<string, Parcel[]>()
  private readonly tasks: TurnTask[] = []
  /** Pairs of nodes whose link is broken, in both orders. */
  private readonly broken = new Set<string>()
  /** `one>other`: the one has not heard the other for a while, and does not count on it. */
  readonly suspicions = new Set<string>()
  /** `one>other`: the other is down, as far as the one knows. */
  readonly gone = new Set<string>()
  readonly killed = new Set<string>()
  /** Who waits until a node has paid what it owes, see `OwedFirst`. */
  readonly debts: (() => void)[] = []

  constructor(readonly names: readonly string[]) {
    this.nodes = names.map((name) => new ModelNode(name, this))
  }

  node(name: string): ModelNode {
    const node = this.nodes.find((one) => one.name === name)
    assert(node !== undefined)
    return node
  }

  post(from: string, to: string, line: 'words' | 'lane' | 'routes', parcel: Parcel): void {
    if (line === 'words' && this.broken.has(`${from}>${to}`)) return
    const key = `${from}>${to}>${line}`
    const parcels = this.lines.get(key) ?? []
    this.lines.set(key, parcels)
    parcels.push(parcel)
  }

  /** Whether a word of this kind is on its way. */
  isSaid(word: LinkBody['$case'], from: string, to: string): boolean {
    const parcels = this.lines.get(`${from}>${to}>words`) ?? []
    return parcels.some((parcel) => 'body' in parcel && parcel.body.$case === word)
  }

  /** At the end of some turn. */
  run(task: TurnTask): void {
    if (task.isQueued) return
    task.isQueued = true
    this.tasks.push(task)
  }

  /** The next parcel of some line arrives, a turn ends, or a debt is paid; false when nothing is under way. */
  deliverOne(choice: number): boolean {
    if (this.debts.length > 0 && choice % 3 === 0) return this.payOne()
    return this.deliverUnpaid(choice) || this.payOne()
  }

  payOne(): boolean {
    const debt = this.debts.shift()
    debt?.()
    return debt !== undefined
  }

  /** As `deliverOne`, while nobody pays. */
  deliverUnpaid(choice = 0): boolean {
    const isBroken = (key: string): boolean => this.broken.has(key.slice(0, key.lastIndexOf('>')))
    const busy = [...this.lines].filter(([key, parcels]) => parcels.length > 0 && !isBroken(key))
    const [task] = this.tasks
    if (task !== undefined && choice % (busy.length + 1) === 0) {
      this.tasks.shift()
      task.isQueued = false
      task.runTurn()
      return true
    }
    const [key, parcels] = busy[choice % Math.max(1, busy.length)] ?? []
    const parcel = parcels?.shift()
    if (key === undefined || parcel === undefined) return false
    const [from = '', to = ''] = key.split('>')
    this.node(to).receive(from, parcel)
    return true
  }

  /** The one does not hear the other for a while, or does again; their link may be whole all the same. */
  doubt(one: string, other: string): void {
    const pair = `${one}>${other}`
    if (!this.suspicions.delete(pair)) this.suspicions.add(pair)
  }

  /** A node is killed, and the others have found out: what was under way to and from it is lost. */
  kill(name: string): void {
    this.killed.add(name)
    for (const key of [...this.lines.keys()]) {
      const [from, to] = key.split('>')
      if (from === name || to === name) this.lines.delete(key)
    }
    for (const other of this.names) {
      if (other === name) continue
      this.suspicions.add(`${other}>${name}`)
      this.broken.add(`${other}>${name}`)
      this.node(other).takeover.nodeGone(name)
    }
  }

  /** The link between two nodes breaks: words are lost from now on, messages and routes wait. */
  sever(one: string, other: string): void {
    for (const [self, peer] of [
      [one, other],
      [other, one],
    ] as const) {
      this.lines.delete(`${self}>${peer}>words`)
      if (!this.broken.has(`${self}>${peer}`)) this.node(self).takeover.linkLost(peer)
      this.broken.add(`${self}>${peer}`)
    }
  }

  /** The link between two nodes is there again, or is another one: words are lost, messages and routes are made up for. */
  relink(one: string, other: string): void {
    // One that takes the place of another is up without the other having been lost.
    for (const key of [`${one}>${other}`, `${other}>${one}`]) {
      this.lines.delete(`${key}>words`)
      this.broken.delete(key)
    }
    this.node(one).takeover.linkUp(other, 1)
    this.node(other).takeover.linkUp(one, 1)
  }

  /** A node is cut off from all others, and all have found out. */
  isolate(name: string): void {
    for (const other of this.names) {
      if (other === name) continue
      this.sever(name, other)
      for (const [self, peer] of [
        [name, other],
        [other, name],
      ] as const) {
        this.suspicions.add(`${self}>${peer}`)
        this.gone.add(`${self}>${peer}`)
        this.node(self).takeover.nodeGone(peer)
      }
    }
  }

  /** Every link is there, and all that is under way arrives. */
  settle(): void {
    this.suspicions.clear()
    this.gone.clear()
    for (const pair of this.broken) this.relink(...(pair.split('>') as [string, string]))
    while (this.deliverOne(0));
  }

  stop(): void {
    for (const { takeover, timers } of this.nodes) {
      takeover.stop()
      timers.stop()
    }
  }
}

/** A CONNECT that waits for its session; see `SessionOpener`. */
interface Expectant {
  readonly epoch: number
  readonly holders: string[]
  readonly enter: () => void
}

/** The client: takes messages once per exchange, acknowledges when told to, and comes to whichever node it likes. */
export class RoamingClient {
  /** Payloads by topic, in order of arrival. */
  readonly received = new Map<string, string[]>()
  private outlet: RecordingOutlet | undefined
  /** Packets that have come and are not looked at. */
  private inbox: Sent[] = []
  /** QoS 2 packet ids whose PUBREL has not come. */
  private readonly unreleased = new Set<number>()
  /** Where the directory would say that the session is. */
  private holder: string
  /** By node: what follows the session that is on its way there. */
  private readonly expectants = new Map<string, Expectant>()
  private attempt = 0

  constructor(
    private readonly network: Network,
    holder: string,
    private readonly sendMaximum: number,
  ) {
    this.holder = holder
  }

  get isConnected(): boolean {
    return this.outlet !== undefined
  }

  /** CONNECT at a node; the connection it had is closed first, as the directory does. */
  connect(name: string): void {
    this.disconnect()
    const { attempt, holder } = this
    const node = this.network.node(name)
    this.holder = name
    const enter = (): void => {
      const entry = node.find(CLIENT)
      if (entry !== undefined) entry.epoch = attempt
      if (attempt !== this.attempt) return
      assert(node.session !== undefined, `the session is at ${name}, from ${holder}`)
      // Where a move came to nothing, the session is where it was.
      if (node.find(CLIENT)?.isMoving === true && !node.session.isArriving) node.takeover.reclaim(CLIENT)
      this.outlet = new RecordingOutlet({ sendMaximum: this.sendMaximum })
      node.attach(this.outlet)
    }
    const before = this.expectants.get(name)
    const holders = holder === name ? [] : [holder]
    // A second CONNECT at the same node waits for what the first one waits for.
    if (before === undefined) this.fetch(name, { epoch: attempt, holders, enter })
    else this.expectants.set(name, { epoch: attempt, holders: [...new Set([...before.holders, ...holders])], enter })
  }

  private fetch(name: string, expectant: Expectant): void {
    const { epoch, holders } = expectant
    const holder = holders.shift()
    if (holder === undefined) return expectant.enter()
    this.expectants.set(name, expectant)
    // Without the node that has it there would be a new session, which is not what is looked at here.
    if (!this.network.killed.has(holder)) this.network.suspicions.delete(`${name}>${holder}`)
    this.network
      .node(name)
      .takeover.fetch({ clientId: CLIENT, epoch, holder, owner: undefined, until: Infinity }, (isHere) => {
        const last = this.expectants.get(name)
        this.expectants.delete(name)
        if (last === undefined) return
        if (isHere) last.enter()
        else this.fetch(name, last)
      })
  }

  disconnect(): void {
    if (this.outlet !== undefined) this.network.node(this.holder).detach()
    this.outlet = undefined
    this.inbox = []
    // Nobody waits for a connection any more, but the session comes all the same.
    this.attempt += 1
  }

  /** Looks at one packet; its acknowledgement may be lost with the connection. */
  step(isAckLost = false): boolean {
    const session = this.network.node(this.holder).session
    this.inbox.push(...(this.outlet?.takeSent() ?? []))
    const packet = this.inbox.shift()
    if (packet === undefined || session === undefined || this.outlet === undefined) return false
    const { cmd, packetId, qos, duplicate, topic = '', payload = '' } = packet
    if (cmd === 'pubrel') {
      this.unreleased.delete(packetId)
    } else {
      const list = this.received.get(topic) ?? []
      this.received.set(topic, list)
      const isNew = qos === 2 ? !this.unreleased.has(packetId) : !(duplicate === true && list.includes(payload))
      if (isNew) list.push(payload)
      if (qos === 2) this.unreleased.add(packetId)
    }
    if (isAckLost) {
      this.disconnect()
    } else if (cmd === 'pubrel') session.complete(packetId)
    else if (qos === 2) session.markReceived(packetId, 0)
    else session.acknowledge(packetId)
    return true
  }
}

/** As the other side reads it. */
function addresseeOf(head: Buffer): Addressee {
  const reader = new ExtensionReader()
  reader.read(head, 3, head.length)
  assert(reader.addressee !== undefined)
  return reader.addressee
}
