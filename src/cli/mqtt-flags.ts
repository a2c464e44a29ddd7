/** The flags that `shoalmq pub` and `shoalmq sub` share, named as mosquitto_pub and mosquitto_sub name theirs. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { IClientOptions } from 'mqtt'
import { formatHostPort } from '../config/addresses.js'
import { CliError, EXIT_CODES } from './cli-error.js'
import { addTlsFlags, asksForTls, type TlsFlags, tlsClientOptions } from './tls-flags.js'

export type QoS = 0 | 1 | 2

export interface MqttFlags extends TlsFlags {
  host: string
  port?: number
  url?: URL
  ws?: string | true
  qos: QoS
  id?: string
  idPrefix?: string
  username?: string
  pw?: string
  protocolVersion: 3 | 4 | 5
  keepalive: number
  disableCleanSession?: true
  sessionExpiryInterval?: number
  debug?: true
  quiet?: true
  willTopic?: string
  willPayload?: string
  willQos: QoS
  willRetain?: true
}

/** By what `schemeOf` answers. */
const DEFAULT_PORTS = { mqtt: 1_883, mqtts: 8_883, ws: 8_083, wss: 8_084 } as const
const DEFAULT_WEBSOCKET_PATH = '/mqtt'

/** A broker that does not answer CONNECT in this time does not answer. */
const CONNECT_TIMEOUT_MS = 10_000

/** Session expiry of `-c` with MQTT 5, whose sessions end with the connection unless told otherwise: never. [MQTT-3.1.2.11.2] */
const NEVER_EXPIRES = 0xffff_ffff

const URL_SCHEMES: readonly string[] = ['mqtt:', 'mqtts:', 'ws:', 'wss:']

const VERSIONS: Readonly<Record<string, 3 | 4 | 5>> = {
  mqttv31: 3,
  '31': 3,
  '3.1': 3,
  mqttv311: 4,
  '311': 4,
  '3.1.1': 4,
  mqttv5: 5,
  '5': 5,
  '5.0': 5,
}

/** Adds the shared flags. `-h` is the host, as mosquitto's users know it, so help is `--help` only. */
export function addMqttFlags(command: Command): Command {
  command
    .helpOption('--help', 'show this help')
    .option('-h, --host <host>', 'the broker', 'localhost')
    .option(
      '-p, --port <port>',
      `its port (default ${DEFAULT_PORTS.mqtt}, TLS ${DEFAULT_PORTS.mqtts}, WebSocket ${DEFAULT_PORTS.ws}, both ${DEFAULT_PORTS.wss})`,
      wholeNumber(1, 65_535),
    )
    .option(
      '-L, --url <url>',
      'mqtt[s]://[user[:password]@]host[:port][/topic] instead of -h, -p, -u, -P and -t',
      parseUrl,
    )
    .option('--ws [path]', `connect by WebSocket, at this path (default ${DEFAULT_WEBSOCKET_PATH})`)
    .option('-q, --qos <level>', 'quality of service: 0, 1 or 2', parseQos, 0)
    .option('-i, --id <id>', 'client ID (default: a random one)')
    .option('-I, --id-prefix <prefix>', 'client ID of this prefix and the process id')
    .option('-u, --username <name>', 'user name')
    .option('-P, --pw <password>', 'password (visible to other users of this machine)')
    .addOption(
      new Option('-V, --protocol-version <version>', 'mqttv31, mqttv311 or mqttv5; also 31, 311, 5')
        .argParser(parseVersion)
        .default(4, 'mqttv311'),
    )
    .option('-k, --keepalive <seconds>', 'keep-alive', wholeNumber(0, 65_535), 60)
    .option('-c, --disable-clean-session', 'keep the session when the connection ends; needs -i')
    .option(
      '-x, --session-expiry-interval <seconds>',
      'with mqttv5: how long the session is kept',
      wholeNumber(0, NEVER_EXPIRES),
    )
    .option('-d, --debug', 'print what is sent and received to standard error')
    .option('--quiet', 'print no errors')
    .option('--will-topic <topic>', 'topic of the will')
    .option('--will-payload <text>', 'payload of the will')
    .option('--will-qos <level>', 'quality of service of the will', parseQos, 0)
    .option('--will-retain', 'retain the will')
  return addTlsFlags(command)
}

/** `-t`, which `sub` takes more than once. */
export function topicFlag(description: string): Option {
  return new Option('-t, --topic <topic>', description)
}

/** The topic at the end of `-L`, if there is one. */
export function topicOfUrl(flags: MqttFlags): string | undefined {
  if (flags.url === undefined || isWebSocket(flags)) return undefined
  const topic = decodeURIComponent(flags.url.pathname + flags.url.hash).replace(/^\//, '')
  return topic === '' ? undefined : topic
}

/** Where the flags lead, for messages: host:port. */
export function brokerAddress(flags: MqttFlags): string {
  const port = flags.url?.port ? Number(flags.url.port) : flags.port
  const host = flags.url === undefined ? flags.host : flags.url.hostname.replace(/^\[|\]$/g, '')
  return formatHostPort({ host, port: port ?? DEFAULT_PORTS[schemeOf(flags)] })
}

/** The URL that MQTT.js dials. */
export function brokerUrl(flags: MqttFlags): string {
  const scheme = schemeOf(flags)
  if (!isWebSocket(flags)) return `${scheme}://${brokerAddress(flags)}`
  const urlPath = flags.url === undefined || flags.url.pathname === '/' ? undefined : flags.url.pathname
  const path = urlPath ?? (typeof flags.ws === 'string' ? flags.ws : DEFAULT_WEBSOCKET_PATH)
  return `${scheme}://${brokerAddress(flags)}${path.startsWith('/') ? '' : '/'}${path}`
}

/**
 * The flags as MQTT.js takes them; it is not to reconnect by itself.
 * @throws CliError when flags contradict each other.
 */
export function clientOptions(flags: MqttFlags): IClientOptions {
  const keepsSession = flags.disableCleanSession === true
  if (keepsSession && flags.id === undefined) {
    throw new CliError('-c keeps the session of a client ID: name it with -i', EXIT_CODES.usage)
  }
  if (flags.sessionExpiryInterval !== undefined && flags.protocolVersion !== 5) {
    throw new CliError('-x is of MQTT 5: add -V 5', EXIT_CODES.usage)
  }
  if (flags.willTopic === undefined && (flags.willPayload !== undefined || flags.willRetain === true)) {
    throw new CliError('a will needs --will-topic', EXIT_CODES.usage)
  }
  const username = flags.username ?? (flags.url?.username ? decodeURIComponent(flags.url.username) : undefined)
  const password = flags.pw ?? (flags.url?.password ? decodeURIComponent(flags.url.password) : undefined)
  const expiry = flags.sessionExpiryInterval ?? (keepsSession ? NEVER_EXPIRES : undefined)
  return {
    ...(isSecure(flags) ? tlsClientOptions(flags) : {}),
    protocolVersion: flags.protocolVersion,
    protocolId: flags.protocolVersion === 3 ? 'MQIsdp' : 'MQTT',
    clientId: flags.id ?? `${flags.idPrefix ?? 'shoalmq-'}${flags.idPrefix === undefined ? randomId() : process.pid}`,
    clean: !keepsSession,
    keepalive: flags.keepalive,
    connectTimeout: CONNECT_TIMEOUT_MS,
    reconnectPeriod: 0,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(flags.protocolVersion === 5 && expiry !== undefined ? { properties: { sessionExpiryInterval: expiry } } : {}),
    ...(flags.willTopic === undefined
      ? {}
      : {
          will: {
            topic: flags.willTopic,
            payload: Buffer.from(flags.willPayload ?? ''),
            qos: flags.willQos,
            retain: flags.willRetain === true,
          },
        }),
  }
}

/** A parser of commander for whole numbers of a range. */
export function wholeNumber(lowest: number, highest: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= lowest && value <= highest)) {
      throw new InvalidArgumentError(`Expected a whole number from ${lowest} to ${highest}.`)
    }
    return value
  }
}

/** A day. */
const LONGEST_DELAY_SECONDS = 86_400

/** An option of a number of seconds, fractions too. */
export function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!(value <= LONGEST_DELAY_SECONDS)) {
    throw new InvalidArgumentError(`Expected seconds from 0 to ${LONGEST_DELAY_SECONDS}.`)
  }
  return value
}

function parseQos(text: string): QoS {
  if (text !== '0' && text !== '1' && text !== '2') throw new InvalidArgumentError('Expected 0, 1 or 2.')
  return Number(text) as QoS
}

function parseVersion(text: string): 3 | 4 | 5 {
  const version = Object.hasOwn(VERSIONS, text) ? VERSIONS[text] : undefined
  if (version === undefined) throw new InvalidArgumentError('Expected mqttv31, mqttv311 or mqttv5 (31, 311 or 5).')
  return version
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !URL_SCHEMES.includes(url.protocol) || url.hostname === '') {
    throw new InvalidArgumentError('Expected mqtt[s]://host[:port][/topic] or ws[s]://host[:port][/path].')
  }
  for (const part of [url.username, url.password, url.pathname + url.hash]) {
    if (!isDecodable(part)) throw new InvalidArgumentError('A % is followed by two hexadecimal digits that make UTF-8.')
  }
  return url
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

function schemeOf(flags: MqttFlags): keyof typeof DEFAULT_PORTS {
  if (isWebSocket(flags)) return isSecure(flags) ? 'wss' : 'ws'
  return isSecure(flags) ? 'mqtts' : 'mqtt'
}

function isWebSocket({ ws, url }: MqttFlags): boolean {
  return ws !== undefined || url?.protocol === 'ws:' || url?.protocol === 'wss:'
}

function isSecure(flags: MqttFlags): boolean {
  return asksForTls(flags) || flags.url?.protocol === 'mqtts:' || flags.url?.protocol === 'wss:'
}

function randomId(): string {
  return Math.random().toString(36).slice(2, 12)
}
