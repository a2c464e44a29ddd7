/** Options of single features of MQTT 5 and of MQTT 3.1; a part of `mqtt`. */

import { boolean, choice, count, text } from './option.js'

/** Stands for the client ID in texts that are made for each client. */
export const CLIENT_ID_PLACE = `\${clientid}`

export const mqttFeatures = {
  checkPayloadFormat: boolean(
    false,
    'Whether a message that says its payload is UTF-8 (Payload Format Indicator 1) and is not is refused: with 0x99 in the acknowledgement or in CONNACK for a will; at QoS 0 it is dropped. Counted.',
  ),
  overlappingDeliveries: choice(
    'one',
    ['one', 'each'],
    'What a client gets of a message that several of its subscriptions match: `one` copy, with the highest QoS and all identifiers, or one for `each` subscription, with its QoS and identifier.',
  ),
  outboundTopicAliasMaximum: count(
    16,
    [0, 65_535],
    'Topic aliases for messages to an MQTT 5 client, at most; also at most what the client allows, and none for clients that allow none. 0: never.',
  ),
  responseInformation: text(
    '',
    { accepted: `the beginning of a topic name, ${CLIENT_ID_PLACE} allowed`, check: checkTopicPrefix },
    `What MQTT 5 clients that ask are given to build their response topics from, such as \`reply/${CLIENT_ID_PLACE}/\`. Empty: nothing. A client whose ID has a \`/\`, \`+\` or \`#\` gets nothing where that ID is to be part of it.`,
  ),
  serverReference: text(
    '',
    { accepted: 'one or more host or host:port, with spaces between', check: checkServerReference },
    'Other servers that MQTT 5 clients are told of (0x9C, use another server) when this node stops or is too busy for them. Empty: they get the reason instead, 0x8B, 0x88, 0x89, 0x97 or 0x9F.',
  ),
  serverMoved: boolean(
    false,
    'Says with `mqtt.serverReference` that this node is gone for good: clients are told 0x9D (server moved), and new ones are sent there at once.',
  ),
  longMqtt31ClientIds: boolean(
    false,
    'Whether MQTT 3.1 clients may have client IDs of more than 23 characters, which their specification forbids; up to `mqtt.maximumClientIdLength` then.',
  ),
}

function checkTopicPrefix(value: string): void {
  if (/[+#\0]/.test(value)) throw new Error('it has a wildcard, and is to be part of a topic name')
  if (Buffer.byteLength(value) > 1_024) throw new Error('it has more than 1024 bytes')
}

function checkServerReference(value: string): void {
  // A host name, an IPv4 address or an IPv6 address in brackets. [MQTT 5.0 section 4.11]
  const server = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/
  if (value !== '' && !value.split(' ').every((one) => server.test(one))) {
    throw new Error('it is not a list of host or host:port, with one space between')
  }
}
