/** `shoalmq sub`: prints what is published to topic filters, until Ctrl-C, `-C` messages or `-W` seconds. */

import type { IPublishPacket, MqttClient } from 'mqtt'
import { CliError, EXIT_CODES, type ExitCode } from './cli-error.js'
import { type MqttFlags, topicOfUrl } from './mqtt-flags.js'
import { type MqttSession, openSession } from './mqtt-session.js'

export interface SubFlags extends MqttFlags {
  topic?: string[]
  verbose?: true
  /** Messages after which to end. */
  count?: number
  /** Seconds after which to end. */
  timeout?: number
  filterOut?: string[]
  staleRetained: boolean
  retainedOnly?: true
  eol: boolean
  subscribeOnly?: true
}

/** A broker that goes away is dialed again this often, as mosquitto_sub does. */
const RECONNECT_PERIOD_MS = 1_000

const NEWLINE = Buffer.from('\n')

/** @throws CliError when the broker cannot be reached or refuses a subscription. */
export async function subscribeCommand(flags: SubFlags): Promise<ExitCode> {
  const urlTopic = topicOfUrl(flags)
  const filters = flags.topic ?? (urlTopic === undefined ? [] : [urlTopic])
  if (filters.length === 0) throw new CliError('name a topic filter with -t', EXIT_CODES.usage)

  const ending = new Ending(flags)
  try {
    const session = await openSession(flags, (client) => printMessages(client, flags, ending))
    try {
      // Before subscribing: MQTT.js remembers only then what to subscribe to again.
      session.client.options.reconnectPeriod = RECONNECT_PERIOD_MS
      await Promise.race([subscribe(session, filters, flags), session.lost])
      if (flags.subscribeOnly === true) return EXIT_CODES.ok
      if (flags.quiet !== true) sayReconnects(session)
      return await ending.reached
    } finally {
      await session.end()
    }
  } finally {
    ending.dispose()
  }
}

/** What ends `sub`: a signal, the last message of `-C`, the time of `-W`, or a reader of our output that has gone. */
class Ending {
  readonly reached: Promise<ExitCode>
  private reach: (code: ExitCode) => void = () => undefined
  private readonly timer: NodeJS.Timeout | undefined
  private readonly onSignal = (): void => this.reach(EXIT_CODES.ok)
  private readonly onOutputError = (): void => this.reach(EXIT_CODES.ok)

  constructor({ timeout }: SubFlags) {
    this.reached = new Promise((resolve) => {
      this.reach = resolve
    })
    if (timeout !== undefined) this.timer = setTimeout(() => this.reach(EXIT_CODES.timeout), timeout * 1_000)
    process.on('SIGINT', this.onSignal)
    process.on('SIGTERM', this.onSignal)
    process.stdout.on('error', this.onOutputError)
  }

  counted(): void {
    this.reach(EXIT_CODES.ok)
  }

  dispose(): void {
    clearTimeout(this.timer)
    process.off('SIGINT', this.onSignal)
    process.off('SIGTERM', this.onSignal)
    // The listener of output errors stays: what is still buffered may fail after this.
  }
}

async function subscribe(session: MqttSession, filters: readonly string[], flags: SubFlags): Promise<void> {
  let refusal: string | undefined
  try {
    const granted = await session.client.subscribeAsync([...filters], { qos: flags.qos })
    const refused = granted.filter((grant) => grant.qos >= 128).map((grant) => grant.topic)
    if (refused.length > 0) refusal = refused.join(', ')
  } catch (error) {
    refusal = `${filters.join(', ')}: ${error instanceof Error ? error.message : String(error)}`
  }
  if (refusal !== undefined) throw new CliError(`${session.address} refuses the subscription of ${refusal}`)
}

function printMessages(client: MqttClient, flags: SubFlags, ending: Ending): void {
  let left = flags.count ?? Number.POSITIVE_INFINITY
  // Not 'message': only this way does a slow reader of our output slow the broker down.
  client.handleMessage = (packet, done) => {
    if (left <= 0 || !isWanted(packet, flags)) {
      done()
      return
    }
    left -= 1
    const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload
    const parts = [
      ...(flags.verbose === true ? [Buffer.from(`${packet.topic} `)] : []),
      payload,
      ...(flags.eol ? [NEWLINE] : []),
    ]
    const hasRoom = process.stdout.write(Buffer.concat(parts))
    if (left === 0) ending.counted()
    if (hasRoom) done()
    else process.stdout.once('drain', () => done())
  }
}

function isWanted(packet: IPublishPacket, flags: SubFlags): boolean {
  if (packet.retain && !flags.staleRetained) return false
  if (!packet.retain && flags.retainedOnly === true) return false
  return !(flags.filterOut ?? []).some((filter) => matches(filter, packet.topic))
}

/** Topic filter against topic name, for `-T`. */
function matches(filter: string, topic: string): boolean {
  const filterLevels = filter.split('/')
  const topicLevels = topic.split('/')
  for (const [index, level] of filterLevels.entries()) {
    if (level === '#') return true
    if (level !== '+' && level !== topicLevels[index]) return false
    if (index >= topicLevels.length) return false
  }
  return filterLevels.length === topicLevels.length
}

function sayReconnects({ client, address }: MqttSession): void {
  let isLost = false
  client.on('close', () => {
    if (!isLost && !client.disconnecting)
      process.stderr.write(`shoalmq: the connection to ${address} is lost, dialing again\n`)
    isLost = true
  })
  client.on('connect', () => {
    if (isLost) process.stderr.write(`shoalmq: connected to ${address} again\n`)
    isLost = false
  })
}
