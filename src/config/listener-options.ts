/** Options of one listener: an entry of `listen` is a URL, or an object of a URL and what differs there. */

import { z } from 'zod'
import { parseIpRange } from '../util/ip-address.js'
import { isSecure, LISTENER_FORMS, type ListenerAddress, parseListener } from './addresses.js'
import { type ClientLimits, clientLimits, withLimits } from './client-limits.js'
import { CONNECTIONS, connectionLimits } from './connection-limits.js'
import type { DeepReadonly } from './deep-freeze.js'
import { boolean, choice, count, list, OPTION_METADATA, type OptionMetadata, optional, text } from './option.js'
import type { Config, MqttOptions } from './options.js'
import { closest } from './suggestion.js'
import { type TlsOptions, tlsSchema } from './tls-options.js'

/** By the names of the specifications; 5 and 3.1 are numbers in YAML. */
const PROTOCOL_VERSIONS: Readonly<Record<string, '3.1' | '3.1.1' | '5.0'>> = {
  '3.1': '3.1',
  '3.1.1': '3.1.1',
  '5': '5.0',
  '5.0': '5.0',
}

const DEFAULT_SOCKET_MODE = '660'

const ownTlsSchema = tlsSchema.omit({ reloadInterval: true })

type OwnTlsOptions = z.output<typeof ownTlsSchema>

export const listenerSchema = z.strictObject({
  url: text('', { accepted: LISTENER_FORMS, check: parseListener }, 'Where it listens. Always to be said.'),
  maximumConnections: count(
    0,
    CONNECTIONS,
    'Connections of this listener; further ones are refused. 0 leaves it to `mqtt.maximumConnections`.',
  ),
  ...connectionLimits,
  ...clientLimits,
  protocolVersions: z
    .array(z.union([z.string(), z.number()]).transform(readProtocolVersion))
    .min(1)
    .default(['3.1', '3.1.1', '5.0'])
    .register(OPTION_METADATA, {
      kind: 'list',
      accepted: 'a list of 3.1, 3.1.1 and 5.0',
      fallback: '3.1, 3.1.1, 5.0',
      help: 'Versions of MQTT that are served. A CONNECT of another one is answered with 0x84 (5.0) or return code 1.',
    }),
  allowAnonymous: optional(
    boolean(false, ''),
    'Lets clients without credentials in, or not. Not said: as the option `allowAnonymous` of the node.',
  ),
  proxyProtocol: choice(
    'off',
    ['off', 'v1', 'v2', 'any'],
    'Whether each connection begins with a header of the PROXY protocol, as HAProxy, nginx and the load balancers of clouds send it, before TLS too. The address it names is that of the client. A connection without it is closed. Needs `trustedProxies`.',
  ),
  trustedProxies: list(
    [],
    { accepted: 'a list of IP addresses and ranges, as in 10.0.0.0/8', check: parseIpRange },
    'The proxies in front. With `proxyProtocol` only they may connect. On a WebSocket listener the client is whom their `X-Forwarded-For` names: the last address in it that is not itself one of these; from others the header is not looked at.',
  ),
  allowedOrigins: list(
    [],
    { accepted: 'a list of origins, as in https://app.example.com', check: checkOrigin },
    'Of a WebSocket listener: web pages of these origins may connect, others get 403. None: all may. Clients that name no origin are no browsers, and get in.',
  ),
  socketMode: z
    .union([z.string(), z.number()])
    .transform(readMode)
    .default(DEFAULT_SOCKET_MODE)
    .register(OPTION_METADATA, {
      kind: 'text',
      accepted: 'three octal digits, as in 660',
      fallback: DEFAULT_SOCKET_MODE,
      help: 'Of a `unix` listener: the permissions of the socket, which say who may connect.',
    }),
  tls: z
    .unknown()
    .transform((written, context) => readOwnTls(written, context))
    .optional()
    .register(OPTION_METADATA, {
      kind: 'records',
      accepted: 'the options of tls',
      fallback: '',
      help: 'Of an `mqtts` or `wss` listener: options of its own instead of all those of the group `tls`, save `reloadInterval`, which is there only.',
    }),
})

export type ListenerEntry = z.output<typeof listenerSchema>
/** As an embedding program writes it. */
export type ListenerEntryInput = DeepReadonly<
  Omit<z.input<typeof listenerSchema>, 'url' | 'tls'> & { url: string; tls?: z.input<typeof ownTlsSchema> }
>

/** What one listener runs with: everything said. */
export interface ListenerSettings
  extends DeepReadonly<Omit<ListenerEntry, 'tls' | 'allowAnonymous' | keyof ClientLimits>> {
  readonly address: ListenerAddress
  readonly allowAnonymous: boolean
  /** The options of the protocol for its clients: those of the node, with its own limits. */
  readonly mqtt: MqttOptions
  /** Undefined for a listener without TLS. */
  readonly tls: TlsOptions | undefined
  /** The entry has a `tls` of its own, be it of use or not. */
  readonly hasOwnTls: boolean
}

/** The option `listen`. */
export function listeners(fallback: readonly string[], help: string) {
  const accepted = `a list of ${LISTENER_FORMS}; in the file also objects with a url and options`
  return z
    .array(z.unknown().transform(readEntry))
    .min(1)
    .default([...fallback])
    .register(OPTION_METADATA, { kind: 'list', accepted, fallback: fallback.join(', '), help, flag: '--listen' })
}

/** The listeners of a configuration, with what they take from the options of the node. */
export function listenerSettings(
  config: Pick<Config, 'listen' | 'allowAnonymous' | 'tls' | 'mqtt'>,
): ListenerSettings[] {
  return config.listen.map((entry) => {
    const { tls, allowAnonymous, ...own } = typeof entry === 'string' ? listenerSchema.parse({ url: entry }) : entry
    const address = parseListener(own.url)
    return {
      ...own,
      address,
      allowAnonymous: allowAnonymous ?? config.allowAnonymous,
      mqtt: withLimits(config.mqtt, own),
      tls: isSecure(address) ? { ...config.tls, ...tls } : undefined,
      hasOwnTls: tls !== undefined,
    }
  })
}

function readEntry(written: unknown, context: z.RefinementCtx): string | ListenerEntry {
  if (typeof written === 'string') {
    try {
      parseListener(written)
    } catch (error) {
      report(context, `${written}: ${error instanceof Error ? error.message : String(error)}`)
    }
    return written
  }
  if (typeof written !== 'object' || written === null || !('url' in written)) {
    report(context, `${JSON.stringify(written)} has no url`)
    return z.NEVER
  }
  return readFields(listenerSchema, written, `${String(written.url)}: `, context) ?? z.NEVER
}

function readOwnTls(written: unknown, context: z.RefinementCtx): OwnTlsOptions {
  if (typeof written === 'object' && written !== null && !Array.isArray(written)) {
    return readFields(ownTlsSchema, written, 'tls.', context) ?? z.NEVER
  }
  report(context, 'tls: expected keys and values below it')
  return z.NEVER
}

/** Reads an object whose options have metadata; what is wrong is said with key, value and what is accepted. */
function readFields<T extends z.ZodObject>(
  schema: T,
  written: object,
  prefix: string,
  context: z.RefinementCtx,
): z.output<T> | undefined {
  const result = schema.safeParse(written)
  if (result.success) return result.data
  const told = new Set<string>()
  for (const issue of result.error.issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        const known = closest(key, Object.keys(schema.shape))
        report(context, `${prefix}unknown option ${key}${known === undefined ? '' : `; did you mean ${known}?`}`)
      }
      continue
    }
    const key = String(issue.path[0] ?? '')
    const detail = issue.code === 'custom' ? issue.message : undefined
    if (told.has(key) && detail === undefined) continue
    told.add(key)
    report(context, `${prefix}${fieldProblem(schema, written, key, detail)}`)
  }
  return undefined
}

function fieldProblem(schema: z.ZodObject, written: object, key: string, detail: string | undefined): string {
  // A problem of an object in it has said key and value already.
  if (key === 'tls' && detail !== undefined) return detail
  const option: OptionMetadata | undefined = OPTION_METADATA.get(schema.shape[key] as z.ZodType)
  const value = JSON.stringify((written as Record<string, unknown>)[key])
  const reason = detail === undefined ? '' : `${detail}; `
  return `${key} is ${value}, ${reason}expected ${option?.accepted ?? 'keys and values below it'}`
}

function report(context: z.RefinementCtx, message: string): void {
  context.addIssue({ code: 'custom', message, input: '' })
}

function readProtocolVersion(written: string | number, context: z.RefinementCtx): '3.1' | '3.1.1' | '5.0' {
  const version = PROTOCOL_VERSIONS[String(written)]
  if (version !== undefined) return version
  report(context, `${written} is no version of MQTT`)
  return z.NEVER
}

function checkOrigin(value: string): void {
  if (!URL.canParse(value) || new URL(value).origin !== value.toLowerCase()) {
    throw new Error('an origin is scheme://host, with a port where it is not the usual one, and nothing behind it')
  }
}

function readMode(written: string | number, context: z.RefinementCtx): string {
  const mode = String(written)
  if (!/^0?[0-7]{3}$/.test(mode)) report(context, `${mode} is no mode`)
  return mode
}
