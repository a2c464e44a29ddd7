/** Options of the protocol: what clients may do, and the limits that hold for each. */

import { z } from 'zod'
import { connectionLimits } from './connection-limits.js'
import { mqttFeatures } from './mqtt-feature-options.js'
import { boolean, choice, choices, count, duration, size } from './option.js'

/** How the member of a shared subscription that gets a message is chosen. */
export const SHARED_STRATEGIES = ['random', 'round_robin', 'sticky', 'local', 'hash_clientid', 'hash_topic'] as const

export type SharedStrategy = (typeof SHARED_STRATEGIES)[number]

const overloadSchema = z.strictObject({
  loopDelay: duration(
    '500ms',
    ['0', '1m'],
    'How late the event loop may run, on average over a second, two seconds in a row. From there on new clients are refused (0x89 in MQTT 5, return code 3 before) until it is below four fifths of this. 0: no such limit.',
  ),
  memory: count(
    90,
    [0, 100],
    'How much of its memory the node may use, in percent: of the heap of V8 or of the limit of its container. From there on new clients are refused (0x97 in MQTT 5, return code 3 before) until it is below four fifths of this. 0: no such limit.',
  ),
})

export const mqttSchema = z.strictObject({
  maximumPacketSize: size(
    '1mb',
    ['1kb', '256mb'],
    'The largest packet accepted from a client, announced to MQTT 5 clients.',
  ),
  maximumPayload: size(
    '0',
    ['0', '256mb'],
    'The largest payload of a message from a client; a will counts too. A larger one is refused: with 0x97 in MQTT 5, by closing the connection before; at QoS 0 it is dropped. 0: whatever fits a packet.',
  ),
  maximumQos: count(
    2,
    [0, 2],
    'The highest QoS at which clients may publish and receive, announced to MQTT 5 clients. A PUBLISH above it closes the connection (0x9B), a will above it refuses it, a subscription gets less.',
  ),
  retainAvailable: boolean(
    true,
    'Whether clients may publish retained messages. If not, MQTT 5 clients are told; a PUBLISH with RETAIN closes the connection (0x9A), a will with RETAIN refuses it.',
  ),
  wildcardSubscriptions: boolean(
    true,
    'Whether clients may subscribe to filters with wildcards. If not, MQTT 5 clients are told, and one that does so all the same is closed (0xA2); before MQTT 5 the subscription is refused.',
  ),
  sharedSubscriptions: boolean(
    true,
    'Whether clients may use `$share` and `$queue`. If not, MQTT 5 clients are told, and one that does so all the same is closed (0x9E); before MQTT 5 the subscription is refused.',
  ),
  subscriptionIdentifiers: boolean(
    true,
    'Whether MQTT 5 clients may give their subscriptions identifiers. If not, they are told, and one that does so all the same is closed (0xA1).',
  ),
  receiveMaximum: count(
    100,
    [1, 65_535],
    'QoS 1 and 2 messages a client may have unacknowledged towards the broker, announced to MQTT 5 clients.',
  ),
  inflightWindow: count(
    1_000,
    [1, 65_535],
    'QoS 1 and 2 messages sent to a client and unacknowledged, at most; also at most what the client announced.',
  ),
  inflightBytes: size(
    '16mb',
    ['1kb', '4gb'],
    'Bytes of QoS 1 and 2 messages sent to a client and kept until it acknowledges them; from then on the next ones wait in its queue. Sessions that end with their connection keep none.',
  ),
  topicAliasMaximum: count(64, [0, 65_535], 'Topic aliases a client may use when publishing (MQTT 5); 0 allows none.'),
  queueLength: count(1_000, [1, 10_000_000], 'Messages that wait behind the in-flight window of one session.'),
  queueBytes: size('16mb', ['1kb', '4gb'], 'Bytes of messages that wait behind the in-flight window of one session.'),
  queueHoldTime: duration(
    '5s',
    ['0', '5m'],
    'How long a full queue holds back the acknowledgements of QoS 1 and 2 publishers before messages are dropped and counted.',
  ),
  sessionExpiryLimit: duration(
    '2h',
    ['0', '3650d'],
    'How long a session outlives its connection at most, whatever the client asks for. MQTT 3.1.1 sessions that are not clean get this.',
  ),
  outboxLimit: size(
    '4mb',
    ['64kb', '1gb'],
    'Bytes waiting to be written to one client. Above it QoS 0 is dropped and counted, and the client is read no further until it has read.',
  ),
  packetsPerSecond: count(
    0,
    [0, 1_000_000],
    'Packets that one client may send in a second, on average; a burst may be as large. A faster one is read no further until it may go on, and is not closed. 0: no such limit.',
  ),
  bytesPerSecond: size(
    '0',
    ['0', '4gb'],
    'Bytes that one client may send in a second, on average; a burst may be as large. A faster one is read no further until it may go on, and is not closed. 0: no such limit.',
  ),
  readAhead: size(
    '1mb',
    ['0', '256mb'],
    'Bytes read from a subscriber before MQTT 5 while its own QoS 1 and 2 messages wait for their acknowledgements: behind them may stand acknowledgements that others wait for. 0 reads no further.',
  ),
  connectTimeout: duration(
    '10s',
    ['100ms', '10m'],
    'How long a new connection may take to send CONNECT and be authenticated.',
  ),
  authenticationTimeout: duration(
    '10s',
    ['100ms', '10m'],
    'How long an MQTT 5 client may take to re-authenticate. The exchange before CONNACK is within `mqtt.connectTimeout`.',
  ),
  drainTimeout: duration(
    '30s',
    ['100ms', '1h'],
    'How long a client may take to read what waits for it before it is disconnected.',
  ),
  keepAliveLimit: count(
    0,
    [0, 65_535],
    'The longest keep-alive in seconds for MQTT 5 clients, which are told of it; earlier ones cannot be told and keep theirs. 0 takes what the client asks for.',
  ),
  maximumTopicLength: count(65_535, [16, 65_535], 'Bytes of a topic name or topic filter.'),
  maximumTopicLevels: count(128, [1, 32_768], 'Levels of a topic name or topic filter.'),
  maximumClientIdLength: count(256, [23, 65_535], 'Bytes of a client ID.'),
  maximumSubscriptions: count(10_000, [1, 10_000_000], 'Subscriptions of one session.'),
  matchCacheTopics: count(50_000, [1, 10_000_000], 'Topic names whose matching subscriptions are remembered.'),
  retainedMessages: count(
    100_000,
    [0, 100_000_000],
    'Topics with a retained message. A message that a client of this node wants retained for a further topic is refused with 0x97 at QoS 1 and 2 in MQTT 5, and otherwise delivered but not kept, and counted. What other nodes have kept is always taken, so give all nodes the same value.',
  ),
  retainedBytes: size(
    '256mb',
    ['0', '1024gb'],
    'Bytes of topic names, payloads and properties of retained messages. What would exceed them is treated as by `retainedMessages`; a message that is not kept also ends the one before it.',
  ),
  delayedMessages: count(
    100_000,
    [0, 10_000_000],
    'Messages published to `$delayed/{seconds}/{topic}` that wait on this node for their time. Further ones are refused with 0x97 in MQTT 5, end the connection at QoS 1 and 2 before it, and are dropped at QoS 0; counted. 0: none is taken (0x90).',
  ),
  delayedBytes: size(
    '64mb',
    ['0', '64gb'],
    'Bytes of topic names, payloads and properties of messages with a delay, which are held in memory. What would exceed them is treated as by `delayedMessages`.',
  ),
  sharedStrategy: choice(
    'round_robin',
    SHARED_STRATEGIES,
    'Which member of a shared subscription (`$share/{group}/{filter}`, `$queue/{filter}`) gets a message: a `random` one; each in turn (`round_robin`); always the same until it goes (`sticky`); in turn those of the node where the message was published, others only when it has none (`local`); the same for all messages of one publisher (`hash_clientid`) or of one topic (`hash_topic`, which keeps the order of a topic).',
  ),
  sharedGroups: choices(
    SHARED_STRATEGIES,
    'Groups of shared subscriptions with a strategy of their own, by the name of the group, as in `{jobs: sticky}`; the group of `$queue/{filter}` is called `$queue`.',
  ),
  maximumSessions: count(
    200_000,
    [1, 100_000_000],
    'Sessions held here, those of clients that are away included; a client that would begin a further one is refused.',
  ),
  maximumConnections: count(100_000, [1, 10_000_000], 'Client connections of this node; further ones are refused.'),
  ...connectionLimits,
  ...mqttFeatures,
  overload: overloadSchema.prefault({}),
})
