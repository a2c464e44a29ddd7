/** Scripts of what three clients do, one step after the other: made from a seed, played to any broker. */

import type { TestContext } from 'node:test'
import type { IPublishPacket, Packet } from 'mqtt-packet'
import type { QoS, Version } from '../support/client.js'
import { type ConnectFields, messageIdOf, PacketClient } from '../support/packet-client.js'
import { Random } from '../support/random.js'

const CLIENTS = [0, 1, 2] as const
const STEPS = 40
const TOPICS = ['a', 'a/b', 'a/b/c', 'b', 'b/', '/a', 'a//b', '$x/a', 'b/c']
const FILTERS = [
  'a',
  'a/#',
  '#',
  '+',
  '+/+',
  'a/+',
  'a/b/c',
  '/+',
  '+/b/#',
  '$x/#',
  '$x/+',
  'a/+/c',
  '+/',
  '+//#',
  'b/#',
]
const QOS: readonly QoS[] = [0, 1, 2]
/** Round trips of another connection until a broker has surely noticed that one has ended. */
const BREAK_ROUNDS = 5

interface Will {
  topic: string
  payload: string
  qos: QoS
  retain: boolean
}

export type Step = { client: number } & (
  | {
      does: 'connect'
      version: Version
      clean: boolean
      expiry: number
      receiveMaximum: number
      will: Will | undefined
    }
  | { does: 'subscribe'; filter: string; qos: QoS; retainHandling: 0 | 1 | 2; identifier: number | undefined }
  | { does: 'unsubscribe'; filter: string }
  | { does: 'publish'; topic: string; qos: QoS; retain: boolean; payload: string; hasProperties: boolean }
  | { does: 'break' | 'disconnect' }
)

/** The same steps for the same seed. */
export function scriptOf(seed: number): Step[] {
  const random = new Random(seed)
  const isHere = [false, false, false]
  const versions = CLIENTS.map((): Version => random.pick([4, 5]))
  return Array.from({ length: STEPS }, (_, number) => {
    const client = random.pick(CLIENTS)
    const step = isHere[client]
      ? anyStep(random, client, number)
      : connectStep(random, client, number, versions[client] ?? 5)
    isHere[client] = step.does !== 'break' && step.does !== 'disconnect'
    return step
  })
}

function connectStep(random: Random, client: number, number: number, version: Version): Step {
  const will = { topic: random.pick(TOPICS), payload: `will ${number}`, qos: random.pick(QOS), retain: random.oneIn(3) }
  return {
    ...{ client, does: 'connect', version, clean: random.oneIn(3) },
    ...{ expiry: random.pick([0, 100, 100]), receiveMaximum: random.pick([2, 100, 100]) },
    will: random.oneIn(3) ? will : undefined,
  }
}

function anyStep(random: Random, client: number, number: number): Step {
  const kind = random.below(100)
  if (kind < 30) {
    const identifier = random.oneIn(2) ? 1 + random.below(300) : undefined
    const retainHandling = random.pick([0, 0, 1, 2] as const)
    return {
      client,
      does: 'subscribe',
      filter: random.pick(FILTERS),
      qos: random.pick(QOS),
      retainHandling,
      identifier,
    }
  }
  if (kind < 36) return { client, does: 'unsubscribe', filter: random.pick(FILTERS) }
  if (kind < 86) {
    const payload = random.oneIn(10) ? '' : `message ${number}`
    const properties = { retain: random.oneIn(4), payload, hasProperties: random.oneIn(3) }
    return { client, does: 'publish', topic: random.pick(TOPICS), qos: random.pick(QOS), ...properties }
  }
  return { client, does: random.pick(['break', 'disconnect']) }
}

/** Plays one script; what each client gets at each step, in lines to compare. */
export class Player {
  private readonly clients: (PacketClient | undefined)[] = []
  private readonly lines: string[] = []

  /** @param name begins the client IDs: scripts that are played to one broker differ in it */
  constructor(
    private readonly context: TestContext,
    private readonly port: number,
    private readonly name: string,
  ) {}

  /** Leaves neither sessions nor retained messages behind. */
  async play(script: readonly Step[]): Promise<string[]> {
    for (const [number, step] of script.entries()) {
      this.lines.push(`${number}. ${JSON.stringify(step)}`)
      await this.take(step)
      const got = await this.listen()
      this.lines.push(...got.sort())
    }
    await this.cleanUp()
    return this.lines
  }

  private async take(step: Step): Promise<void> {
    if (step.does === 'connect') return this.connect(step)
    const client = this.clients[step.client]
    if (client === undefined) throw new Error(`client ${step.client} is not there`)
    switch (step.does) {
      case 'subscribe':
        return subscribe(client, step)
      case 'unsubscribe':
        return client.send({ cmd: 'unsubscribe', messageId: client.nextPacketId(), unsubscriptions: [step.filter] })
      case 'publish':
        return publish(client, step)
      default:
        this.clients[step.client] = undefined
        if (step.does === 'disconnect') return client.disconnect()
        await this.break(client)
    }
  }

  private async connect(step: Step & { does: 'connect' }): Promise<void> {
    const client = await PacketClient.open(this.context, this.port, step.version)
    const properties = { sessionExpiryInterval: step.expiry, receiveMaximum: step.receiveMaximum }
    const will = step.will === undefined ? {} : { will: { ...step.will, payload: Buffer.from(step.will.payload) } }
    const fields: ConnectFields = { clientId: this.clientId(step.client), clean: step.clean, ...will }
    client.sendConnect(step.version === 5 ? { ...fields, properties } : fields)
    const { sessionPresent } = await client.next('connack')
    this.lines.push(`client ${step.client}: session present ${sessionPresent}`)
    this.clients[step.client] = client
  }

  /** A connection that takes its place from the broken one could come before the broker knows of the break. */
  private async break(client: PacketClient): Promise<void> {
    const watcher = await PacketClient.connect(this.context, this.port, 5, { clientId: `${this.name}watcher` })
    client.drop()
    // Its end came to the broker before the pings of another connection.
    for (let round = 0; round < BREAK_ROUNDS; round += 1) await watcher.settle()
    await watcher.disconnect()
  }

  /** What has come to all clients, each message acknowledged in full. */
  private async listen(): Promise<string[]> {
    const got: string[] = []
    for (let quietRounds = 0; quietRounds < 2; quietRounds += 1) {
      for (const [number, client] of this.clients.entries()) {
        if (client === undefined || client.isClosed) continue
        for (const packet of await client.settle()) {
          quietRounds = 0
          const line = answer(client, packet)
          if (line !== undefined) got.push(`client ${number}: ${line}`)
        }
      }
    }
    return got
  }

  private async cleanUp(): Promise<void> {
    for (const client of this.clients) if (client !== undefined) await this.break(client)
    for (const number of CLIENTS) {
      const client = await PacketClient.connect(this.context, this.port, 4, { clientId: this.clientId(number) })
      if (number === 0) for (const topic of TOPICS) client.publish({ topic, retain: true })
      await client.settle()
      await client.disconnect()
    }
  }

  private clientId(number: number): string {
    return `${this.name}${number}`
  }
}

/** No Local and Retain As Published are the filter's: when one is subscribed again Mosquitto 2.0 leaves them as they were. */
function subscribe(
  client: PacketClient,
  { filter, qos, retainHandling, identifier }: Step & { does: 'subscribe' },
): void {
  const options = { nl: filter.length % 4 === 1, rap: filter.length % 3 === 0, rh: retainHandling }
  client.send({
    cmd: 'subscribe',
    messageId: client.nextPacketId(),
    subscriptions: [{ topic: filter, qos, ...(client.version === 5 ? options : {}) }],
    ...(client.version === 5 && identifier !== undefined ? { properties: { subscriptionIdentifier: identifier } } : {}),
  })
}

function publish(
  client: PacketClient,
  { topic, qos, retain, payload, hasProperties }: Step & { does: 'publish' },
): void {
  const properties = { responseTopic: 'r', userProperties: { a: '1' } }
  client.publish({ topic, qos, retain, payload, ...(client.version === 5 && hasProperties ? { properties } : {}) })
}

/** Answers a packet as a client has to; the line for it, undefined for what brokers may say in different ways. */
function answer(client: PacketClient, packet: Packet): string | undefined {
  switch (packet.cmd) {
    case 'publish':
      if (packet.qos === 1) client.acknowledge(packet)
      if (packet.qos === 2) client.send({ cmd: 'pubrec', ...messageIdOf(packet) })
      return messageLine(packet)
    case 'pubrel':
      client.send({ cmd: 'pubcomp', messageId: packet.messageId ?? 0 })
      return undefined
    case 'pubrec':
      client.send({ cmd: 'pubrel', messageId: packet.messageId ?? 0 })
      return undefined
    case 'suback':
    case 'unsuback':
      return client.version === 5 || packet.cmd === 'suback' ? `${packet.cmd} ${packet.granted}` : undefined
    default:
      return undefined
  }
}

function messageLine({ topic, payload, qos, retain, dup, properties = {} }: IPublishPacket): string {
  const { subscriptionIdentifier = [], userProperties, responseTopic } = properties
  const identifiers = [subscriptionIdentifier].flat().sort((a, b) => a - b)
  return JSON.stringify({ topic, payload: `${payload}`, qos, retain, dup, identifiers, userProperties, responseTopic })
}
