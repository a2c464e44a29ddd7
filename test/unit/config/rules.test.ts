import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConfigError, loadConfig } from '../../../src/config/load.js'

type Environment = Record<string, string>

function refusals(env: Environment): string[] {
  try {
    loadConfig({ env, flags: {} })
    return []
  } catch (error) {
    assert(error instanceof ConfigError)
    return error.problems.map(({ key, message }) => `${key}: ${message}`)
  }
}

interface RuleCase {
  rule: string
  refused: readonly { env: Environment; expected: RegExp }[]
  accepted: readonly Environment[]
}

const CASES: readonly RuleCase[] = [
  {
    rule: 'a listener off loopback needs a users file, or allowAnonymous written down',
    refused: [
      {
        env: { SHOALMQ_LISTEN: 'mqtt://0.0.0.0:1883' },
        expected: /^listen: mqtt:\/\/0\.0\.0\.0:1883 is not on loopback/,
      },
      {
        env: { SHOALMQ_LISTEN: 'mqtt://127.0.0.1:1,ws://[::]:2' },
        expected: /^listen: ws:\/\/\[::\]:2 is not on loopback/,
      },
      {
        env: { SHOALMQ_LISTEN: 'mqtt://broker.example:1', SHOALMQ_ALLOW_ANONYMOUS: 'false' },
        expected: /allowAnonymous/,
      },
    ],
    accepted: [
      { SHOALMQ_LISTEN: 'mqtt://0.0.0.0:1883', SHOALMQ_ALLOW_ANONYMOUS: 'true' },
      { SHOALMQ_LISTEN: 'mqtt://0.0.0.0:1883', SHOALMQ_ACCESS__USERS_FILE: '/etc/shoalmq/users' },
      { SHOALMQ_LISTEN: 'mqtt://127.3.2.1:1883,mqtt://[::1]:1883,mqtt://localhost:1884' },
    ],
  },
  {
    rule: 'TLS between nodes needs its files',
    refused: [
      { env: { SHOALMQ_CLUSTER__TLS__CERT_FILE: '/x' }, expected: /^cluster\.tls\.certFile: .*both or none/ },
      { env: { SHOALMQ_CLUSTER__TLS__CA_FILE: '/x' }, expected: /^cluster\.tls\.certFile: .*caFile says nothing/ },
      {
        env: { SHOALMQ_CLUSTER__TLS__CERT_FILE: '/x', SHOALMQ_CLUSTER__TLS__KEY_FILE: '/y' },
        expected: /^cluster\.tls\.certFile: cluster\.tls\.verify is required, which needs cluster\.tls\.caFile$/,
      },
    ],
    accepted: [{}],
  },
  {
    rule: 'the options of discovery say what is accepted',
    refused: [
      {
        env: { SHOALMQ_CLUSTER__DISCOVERY: 'gossip' },
        expected: /^cluster\.discovery: expected one of static, dns, mcast, etcd, k8s$/,
      },
      { env: { SHOALMQ_CLUSTER__MCAST__ADDR: '10.0.0.1' }, expected: /^cluster\.mcast\.addr: .*224\.0\.0\.0/ },
      { env: { SHOALMQ_CLUSTER__MCAST__PORTS: '4369,70000' }, expected: /^cluster\.mcast\.ports: 70000: .*65535/ },
      { env: { SHOALMQ_CLUSTER__MCAST__IFACE: 'eth0' }, expected: /^cluster\.mcast\.iface: .*IPv4 address/ },
      { env: { SHOALMQ_CLUSTER__MCAST__TTL: '256' }, expected: /^cluster\.mcast\.ttl: .*from 0 to 255/ },
      {
        env: { SHOALMQ_CLUSTER__ETCD__SERVER: 'etcd:2379' },
        expected: /^cluster\.etcd\.server: .*https:\/\/host:port/,
      },
      { env: { SHOALMQ_CLUSTER__ETCD__CERT_FILE: '/x' }, expected: /^cluster\.etcd\.certFile: .*both or none/ },
      {
        env: { SHOALMQ_CLUSTER__K8S__ADDRESS_TYPE: 'name' },
        expected: /^cluster\.k8s\.addressType: .*ip, dns, hostname/,
      },
      { env: { SHOALMQ_CLUSTER__K8S__SERVICE_NAME: 'a/b' }, expected: /^cluster\.k8s\.serviceName: .*Service/ },
      {
        env: { SHOALMQ_CLUSTER__DISCOVERY: 'k8s', SHOALMQ_CLUSTER__K8S__TOKEN_FILE: '' },
        expected: /^cluster\.k8s\.namespace: .*tokenFile/,
      },
    ],
    accepted: [
      { SHOALMQ_CLUSTER__DISCOVERY: 'mcast', SHOALMQ_CLUSTER__MCAST__IFACE: '127.0.0.1' },
      { SHOALMQ_CLUSTER__DISCOVERY: 'etcd', SHOALMQ_CLUSTER__ETCD__SERVER: 'https://a:2379,https://[::1]:2379' },
      { SHOALMQ_CLUSTER__DISCOVERY: 'k8s' },
    ],
  },
  {
    rule: 'a cluster port off loopback needs a secret',
    refused: [
      {
        env: { SHOALMQ_CLUSTER__LISTEN: '0.0.0.0:5370' },
        expected: /^cluster\.secret: .*not on loopback.*SHOALMQ_CLUSTER__SECRET/,
      },
    ],
    accepted: [
      { SHOALMQ_CLUSTER__LISTEN: '0.0.0.0:5370', SHOALMQ_CLUSTER__SECRET: 'hush' },
      { SHOALMQ_CLUSTER__LISTEN: '127.0.0.1:5370' },
      { SHOALMQ_CLUSTER__LISTEN: 'off' },
    ],
  },
  {
    rule: 'a server that has moved says where to, as host or host:port',
    refused: [
      { env: { SHOALMQ_MQTT__SERVER_MOVED: 'true' }, expected: /^mqtt\.serverMoved: .*mqtt\.serverReference/ },
      { env: { SHOALMQ_MQTT__SERVER_REFERENCE: 'mqtt://a:1' }, expected: /^mqtt\.serverReference: .*host:port/ },
      { env: { SHOALMQ_MQTT__SERVER_REFERENCE: 'a  b' }, expected: /^mqtt\.serverReference: .*one space/ },
      { env: { SHOALMQ_MQTT__RESPONSE_INFORMATION: 'reply/+/' }, expected: /^mqtt\.responseInformation: .*wildcard/ },
    ],
    accepted: [
      { SHOALMQ_MQTT__SERVER_MOVED: 'true', SHOALMQ_MQTT__SERVER_REFERENCE: 'a.example b:1883 [::1]:1' },
      { SHOALMQ_MQTT__RESPONSE_INFORMATION: `reply/\${clientid}/` },
    ],
  },
  {
    rule: 'a secret is given once',
    refused: [
      {
        env: { SHOALMQ_CLUSTER__SECRET: 'hush', SHOALMQ_CLUSTER__SECRET_FILE: '/etc/hostname' },
        expected: /are both set/,
      },
    ],
    accepted: [{ SHOALMQ_CLUSTER__SECRET: 'hush' }],
  },
  {
    rule: 'a peer is suspect later than its next heartbeat, and down later than suspect',
    refused: [
      {
        env: { SHOALMQ_CLUSTER__SUSPECT_AFTER: '1s' },
        expected: /^cluster\.suspectAfter: 1s is not longer than cluster\.heartbeatInterval/,
      },
      {
        env: { SHOALMQ_CLUSTER__DOWN_AFTER: '3s' },
        expected: /^cluster\.downAfter: 3s is not longer than cluster\.suspectAfter/,
      },
      { env: { SHOALMQ_CLUSTER__HEARTBEAT_INTERVAL: '3s' }, expected: /^cluster\.suspectAfter/ },
    ],
    accepted: [
      {
        SHOALMQ_CLUSTER__HEARTBEAT_INTERVAL: '100ms',
        SHOALMQ_CLUSTER__SUSPECT_AFTER: '300ms',
        SHOALMQ_CLUSTER__DOWN_AFTER: '500ms',
      },
    ],
  },
  {
    rule: 'discovery by DNS needs a name',
    refused: [{ env: { SHOALMQ_CLUSTER__DISCOVERY: 'dns' }, expected: /^cluster\.dns\.name: it is empty/ }],
    accepted: [{ SHOALMQ_CLUSTER__DISCOVERY: 'dns', SHOALMQ_CLUSTER__DNS__NAME: 'peers.example' }],
  },
  {
    rule: 'addresses that are dialed have a port',
    refused: [
      { env: { SHOALMQ_CLUSTER__SEEDS: 'a:0' }, expected: /^cluster\.seeds: a:0 has port 0/ },
      { env: { SHOALMQ_CLUSTER__ADVERTISE: 'a:0' }, expected: /^cluster\.advertise: a:0 has port 0/ },
    ],
    accepted: [{ SHOALMQ_CLUSTER__ADVERTISE: 'a:1', SHOALMQ_CLUSTER__LISTEN: '127.0.0.1:0' }],
  },
  {
    rule: 'no address is listened on twice, unless the system chooses the port',
    refused: [
      { env: { SHOALMQ_ADMIN__LISTEN: '127.0.0.1:1883' }, expected: /127\.0\.0\.1:1883 is used twice/ },
      { env: { SHOALMQ_LISTEN: 'mqtt://127.0.0.1:5370' }, expected: /127\.0\.0\.1:5370 is used twice/ },
    ],
    accepted: [
      {
        SHOALMQ_LISTEN: 'mqtt://127.0.0.1:0,ws://127.0.0.1:0',
        SHOALMQ_ADMIN__LISTEN: '127.0.0.1:0',
        SHOALMQ_CLUSTER__LISTEN: '127.0.0.1:0',
      },
    ],
  },
  {
    rule: 'a queue holds at least one packet of the largest size',
    refused: [
      {
        env: { SHOALMQ_MQTT__QUEUE_BYTES: '512kb' },
        expected: /^mqtt\.queueBytes: 512kb cannot hold one packet of mqtt\.maximumPacketSize, which is 1mb/,
      },
      { env: { SHOALMQ_MQTT__OUTBOX_LIMIT: '512kb' }, expected: /^mqtt\.outboxLimit/ },
      { env: { SHOALMQ_CLUSTER__LINK_BUFFER: '512kb' }, expected: /^cluster\.linkBuffer/ },
      { env: { SHOALMQ_CLUSTER__QOS0_BUFFER: '512kb' }, expected: /^cluster\.qos0Buffer/ },
    ],
    accepted: [{ SHOALMQ_MQTT__MAXIMUM_PACKET_SIZE: '4mb' }],
  },
]

for (const { rule, refused, accepted } of CASES) {
  test(rule, () => {
    for (const { env, expected } of refused) {
      const found = refusals(env)
      assert.equal(found.length, 1, `${JSON.stringify(env)}: ${found.join(' / ')}`)
      assert.match(found[0] ?? '', expected)
    }
    for (const env of accepted) assert.deepEqual(refusals(env), [], JSON.stringify(env))
  })
}

test('a rule is not asked about a value that is wrong by itself', () => {
  assert.deepEqual(refusals({ SHOALMQ_CLUSTER__SUSPECT_AFTER: 'soon' }).length, 1)
})
