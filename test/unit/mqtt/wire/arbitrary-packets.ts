import fc from 'fast-check'
import type {
  ConnectPacket,
  InboundPacket,
  OutboundPacket,
  ProtocolVersion,
  QoS,
  UserProperty,
} from '../../../../src/mqtt/wire/packets.js'

/** Strings as MQTT allows them: any code points but U+0000. Often short, sometimes long enough for a second length byte. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }).map((value) => value.replaceAll('\0', '0')),
  fc.string({ unit: 'grapheme-ascii', minLength: 120, maxLength: 300 }),
)
const topicName = anyText.map((value) => `t${value.replaceAll(/[+#]/g, '/')}`)
const topicFilter = fc.oneof(
  topicName,
  topicName.map((topic) => `+/${topic}/#`),
)
const data = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
const uint16 = fc.nat(0xffff)
const uint32 = fc.nat(0xffff_ffff)
const nonZero16 = fc.integer({ min: 1, max: 0xffff })
const bit = fc.constantFrom<0 | 1>(0, 1)
const packetId = nonZero16
const qos = fc.constantFrom<QoS>(0, 1, 2)

/**
 * mqtt-packet keeps user properties in an object, so a name's values must follow each other here, and a name must not
 * look like a number or be one that objects have of their own; and it loses an empty value that has one behind it.
 */
const userProperties = fc
  .uniqueArray(fc.tuple(anyText, fc.array(anyText, { minLength: 1, maxLength: 3 })), {
    selector: ([name]) => name,
    minLength: 1,
    maxLength: 4,
  })
  .map((groups) => groups.flatMap(([name, values]) => values.map((value): UserProperty => [`k${name}`, `v${value}`])))

/** An object with all of these fields. */
function record<T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(fields, { noNullPrototype: true })
}

/** An object with any part of these fields; what is left out is absent, not undefined. */
function part<T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> {
  return fc.record(fields, { requiredKeys: [], noNullPrototype: true }) as fc.Arbitrary<Partial<T>>
}

const answer = { reasonString: anyText, userProperties }

export const publishProperties = part({
  payloadFormatIndicator: bit,
  messageExpiryInterval: uint32,
  contentType: anyText,
  responseTopic: topicName,
  correlationData: data,
  userProperties,
})

const will = (isV5: boolean) =>
  record({
    topic: topicName,
    payload: data,
    qos,
    retain: fc.boolean(),
    delayInterval: isV5 ? uint32 : fc.constant(0),
    properties: isV5 ? publishProperties : fc.constant({}),
  })

const connectProperties = fc
  .tuple(
    part({
      sessionExpiryInterval: uint32,
      receiveMaximum: nonZero16,
      maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
      topicAliasMaximum: uint16,
      requestResponseInformation: fc.boolean(),
      requestProblemInformation: fc.boolean(),
      userProperties,
    }),
    fc.option(record({ authenticationMethod: anyText, authenticationData: data }), { nil: {} }),
  )
  .map(([properties, authentication]) => ({ ...properties, ...authentication }))

export function connect(version: ProtocolVersion): fc.Arbitrary<ConnectPacket> {
  const isV5 = version === 5
  const credentials = fc.oneof(
    fc.constant({ username: undefined, password: undefined }),
    record({ username: anyText, password: fc.option(data, { nil: undefined }) }),
  )
  return record({
    clientId: anyText.map((value) => `c${value}`.slice(0, 20).replaceAll(/[\ud800-\udfff]/g, '')),
    cleanStart: fc.boolean(),
    keepAlive: uint16,
    will: fc.option(will(isV5), { nil: undefined }),
    properties: isV5 ? connectProperties : fc.constant({}),
    credentials,
  }).map(({ credentials: { username, password }, ...fields }) => ({
    cmd: 'connect',
    protocolVersion: version,
    username,
    password,
    ...fields,
  }))
}

export function inbound(version: ProtocolVersion): fc.Arbitrary<InboundPacket> {
  const isV5 = version === 5
  const userPart = isV5 ? part({ userProperties }) : fc.constant({})
  const subscriptionId = fc.option(fc.integer({ min: 1, max: 268_435_455 }), { nil: undefined })
  const subscribe = record({
    id: packetId,
    requests: fc.array(
      record({
        topicFilter,
        qos,
        noLocal: isV5 ? fc.boolean() : fc.constant(false),
        retainAsPublished: isV5 ? fc.boolean() : fc.constant(false),
        retainHandling: isV5 ? fc.constantFrom<0 | 1 | 2>(0, 1, 2) : fc.constant<0>(0),
      }),
      { minLength: 1, maxLength: 5 },
    ),
    identifier: isV5 ? subscriptionId : fc.constant(undefined),
    user: userPart,
  }).map(
    ({ id, requests, identifier, user }): InboundPacket => ({
      cmd: 'subscribe',
      packetId: id,
      subscriptions: requests.map(({ topicFilter: filter, ...options }) => ({
        topicFilter: filter,
        options: { ...options, subscriptionId: identifier },
      })),
      ...user,
    }),
  )
  const unsubscribe = record({
    id: packetId,
    topicFilters: fc.array(topicFilter, { minLength: 1, maxLength: 5 }),
    user: userPart,
  }).map(({ id, topicFilters, user }): InboundPacket => ({ cmd: 'unsubscribe', packetId: id, topicFilters, ...user }))
  const common = [connect(version), ack(isV5), subscribe, unsubscribe, fc.constant<InboundPacket>({ cmd: 'pingreq' })]
  if (!isV5)
    return fc.oneof(...common, fc.constant<InboundPacket>({ cmd: 'disconnect', reasonCode: 0, properties: {} }))
  return fc.oneof(
    ...common,
    record({
      cmd: fc.constant('disconnect' as const),
      reasonCode: fc.constantFrom(0x00, 0x04, 0x80, 0x93, 0x99),
      properties: part({ sessionExpiryInterval: uint32, ...answer }),
    }),
    auth(fc.constantFrom(0x18, 0x19)),
  )
}

export function outbound(version: ProtocolVersion): fc.Arbitrary<OutboundPacket> {
  const isV5 = version === 5
  const answerPart = isV5 ? part(answer) : fc.constant({})
  const connack = record({
    sessionPresent: fc.boolean(),
    reasonCode: fc.constantFrom(0x00, 0x80, 0x87, 0x9f),
    properties: isV5 ? connackProperties : fc.constant({}),
  }).map(
    (fields): OutboundPacket => ({
      cmd: 'connack',
      ...fields,
      sessionPresent: fields.sessionPresent && fields.reasonCode === 0,
    }),
  )
  const suback = record({
    cmd: fc.constant('suback' as const),
    packetId,
    reasonCodes: fc.array(isV5 ? fc.constantFrom(0, 1, 2, 0x80, 0x87, 0x8f) : fc.constantFrom(0, 1, 2, 0x80), {
      minLength: 1,
      maxLength: 200,
    }),
    properties: answerPart,
  })
  const unsuback = record({
    cmd: fc.constant('unsuback' as const),
    packetId,
    reasonCodes: isV5 ? fc.array(fc.constantFrom(0, 0x11, 0x87), { minLength: 1, maxLength: 5 }) : fc.constant([]),
    properties: answerPart,
  })
  const common = [connack, ack(isV5), suback, unsuback, fc.constant<OutboundPacket>({ cmd: 'pingresp' })]
  if (!isV5) return fc.oneof(...common)
  return fc.oneof(
    ...common,
    record({
      cmd: fc.constant('disconnect' as const),
      reasonCode: fc.constantFrom(0x00, 0x81, 0x8b, 0x8e, 0x9d),
      properties: part({ serverReference: anyText, ...answer }),
    }),
    auth(fc.constantFrom(0x00, 0x18)),
  )
}

function ack(isV5: boolean) {
  const either = <C extends string>(commands: readonly C[], codes: readonly number[]) =>
    record({
      cmd: fc.constantFrom(...commands),
      packetId,
      reasonCode: isV5 ? fc.constantFrom(...codes) : fc.constant(0),
      properties: isV5 ? part(answer) : fc.constant({}),
    })
  return fc.oneof(
    either(['puback', 'pubrec'] as const, [0x00, 0x10, 0x80, 0x97]),
    either(['pubrel', 'pubcomp'] as const, [0x00, 0x92]),
  )
}

function auth(reasonCode: fc.Arbitrary<number>) {
  return record({
    cmd: fc.constant('auth' as const),
    reasonCode,
    properties: fc
      .tuple(part({ authenticationData: data, ...answer }), anyText)
      .map(([properties, authenticationMethod]) => ({ ...properties, authenticationMethod })),
  })
}

const connackProperties = part({
  sessionExpiryInterval: uint32,
  receiveMaximum: nonZero16,
  maximumQoS: bit,
  retainAvailable: fc.boolean(),
  maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
  assignedClientIdentifier: anyText,
  topicAliasMaximum: uint16,
  wildcardSubscriptionAvailable: fc.boolean(),
  subscriptionIdentifiersAvailable: fc.boolean(),
  sharedSubscriptionAvailable: fc.boolean(),
  serverKeepAlive: uint16,
  responseInformation: anyText,
  serverReference: anyText,
  authenticationMethod: anyText,
  authenticationData: data,
  ...answer,
})

/** A PUBLISH, with the alias that a client may add. */
export const publish = record({
  topic: topicName,
  payload: data,
  qos,
  retain: fc.boolean(),
  packetId,
  topicAlias: fc.option(nonZero16, { nil: undefined }),
  subscriptionIds: fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 3 }),
  properties: publishProperties,
})
