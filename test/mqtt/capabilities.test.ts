import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { IConnackPacket } from 'mqtt-packet'
import { useBroker } from '../support/broker.js'
import { cite } from '../support/cite.js'
import type { Version } from '../support/client.js'
import { PacketClient, textOf } from '../support/packet-client.js'

const LIMITS = {
  maximumQos: 1,
  retainAvailable: false,
  wildcardSubscriptions: false,
  sharedSubscriptions: false,
  subscriptionIdentifiers: false,
  maximumPayload: '1kb',
  maximumTopicLength: 32,
  maximumTopicLevels: 5,
  topicAliasMaximum: 0,
  receiveMaximum: 65_535,
}
const PAYLOAD_BYTES = 1_024

const broker = useBroker({ mqtt: LIMITS })
const VERSIONS: readonly Version[] = [4, 5]

async function counted(metric: string, reason: string): Promise<number> {
  return (await broker().node().metrics()).value(`shoalmq_${metric}`, { reason })
}

/** Asserts that something counts exactly once more. */
async function countsOnce(metric: string, reason: string, act: () => Promise<void>): Promise<void> {
  const before = await counted(metric, reason)
  await act()
  assert.equal(await counted(metric, reason), before + 1, `${metric} ${reason}`)
}

test('CONNACK says what is not available, and nothing that the protocol takes for granted', async (t) => {
  const client = await PacketClient.connect(t, broker().port)
  assert.deepEqual(
    { ...client.connack?.properties },
    {
      maximumQoS: 1,
      retainAvailable: false,
      wildcardSubscriptionAvailable: false,
      subscriptionIdentifiersAvailable: false,
      sharedSubscriptionAvailable: false,
      maximumPacketSize: 1_048_576,
    },
  )
})

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(
    `${cite(version, { 5: '3.2.2-9 3.2.2-10' })} subscriptions get no more than the maximum QoS ${v}`.trim(),
    async (t) => {
      const client = await PacketClient.connect(t, broker().port, version)
      const filters = ([0, 1, 2] as const).map((qos) => ({ topic: `qos/${qos}`, qos }))
      assert.deepEqual(await client.subscribe(filters), [0, 1, 1])
      assert.deepEqual(await client.publishAcked({ topic: 'qos/none', qos: 1 }), version === 5 ? 0x10 : 0)
    },
  )

  test(`a PUBLISH above the maximum QoS, or with RETAIN where that is not available, closes ${v}`, async (t) => {
    for (const [fields, reasonCode] of [
      [{ qos: 2 }, 0x9b],
      [{ retain: true }, 0x9a],
    ] as const) {
      const client = await PacketClient.connect(t, broker().port, version)
      await countsOnce('connections_closed_total', 'not_supported', async () => {
        client.publish({ topic: 'a', payload: 'x', ...fields })
        await client.closedFor(reasonCode)
      })
    }
  })

  test(
    `${cite(version, { 5: '3.2.2-12 3.2.2-13' })} a will that asks for what is not there refuses the CONNECT ${v}`.trim(),
    async (t) => {
      const will = { topic: 'will', payload: Buffer.from('x'), qos: 0, retain: false } as const
      for (const [fields, reasonCode, reason] of [
        [{ qos: 2 }, 0x9b, 'not_supported'],
        [{ retain: true }, 0x9a, 'not_supported'],
        [{ topic: 'a/b/c/d/e/f' }, 0x90, 'topic_invalid'],
        [{ topic: 'x'.repeat(LIMITS.maximumTopicLength + 1) }, 0x90, 'topic_invalid'],
        [{ payload: Buffer.alloc(PAYLOAD_BYTES + 1) }, 0x97, 'quota_exceeded'],
      ] as const) {
        await countsOnce('connect_refused_total', reason, async () => {
          const client = await PacketClient.open(t, broker().port, version)
          client.sendConnect({ will: { ...will, ...fields } })
          const connack: IConnackPacket = await client.next('connack')
          assert.equal(version === 5 ? connack.reasonCode : connack.returnCode, version === 5 ? reasonCode : 3)
          assert.deepEqual(await client.closed(), [])
        })
      }
    },
  )

  test(`a message with more payload than is taken goes to nobody, one with as much does ${v}`, async (t) => {
    const subscriber = await PacketClient.connect(t, broker().port, version)
    await subscriber.subscribe('payload', 1)
    const exact = 'x'.repeat(PAYLOAD_BYTES)
    await countsOnce('publishes_refused_total', 'payload_too_large', async () => {
      const client = await PacketClient.connect(t, broker().port, version)
      client.publish({ topic: 'payload', payload: `${exact}x` })
      assert.equal(await client.publishAcked({ topic: 'payload', payload: exact }), 0, 'QoS 0 too large is dropped')
    })
    await countsOnce('publishes_refused_total', 'payload_too_large', async () => {
      const client = await PacketClient.connect(t, broker().port, version)
      client.publish({ topic: 'payload', payload: `${exact}x`, qos: 1 })
      if (version === 4) await client.closedFor(0x97)
      else {
        const puback = await client.next('puback')
        assert.equal(puback.reasonCode, 0x97)
        assert.match(puback.properties?.reasonString ?? '', /payload/)
      }
    })
    assert.deepEqual((await subscriber.receive(1)).map(textOf), [`payload ${exact}`])
    await subscriber.expectNothing()
  })

  test(`a topic filter with too many bytes is refused, a topic name closes the connection ${v}`, async (t) => {
    const client = await PacketClient.connect(t, broker().port, version)
    const exact = 'é'.repeat(LIMITS.maximumTopicLength / 2)
    await countsOnce('subscriptions_refused_total', 'topic_filter_invalid', async () => {
      const codes = await client.subscribe([{ topic: exact }, { topic: `${exact}x` }])
      assert.deepEqual(codes, [0, version === 5 ? 0x8f : 0x80])
    })
    client.publish({ topic: exact, payload: 'x' })
    assert.deepEqual((await client.settle()).map(textOf), [`${exact} x`])
    await countsOnce('connections_closed_total', 'topic_invalid', async () => {
      client.publish({ topic: `${exact}x`, payload: 'x' })
      await client.closedFor(0x90)
    })
  })

  test(`kinds of subscription that are not available are refused before MQTT 5, and close the connection in 5.0 ${v}`, async (t) => {
    const wanted: [string, number, number | undefined][] = [
      ['a/+', 0xa2, undefined],
      ['#', 0xa2, undefined],
      ['$share/g/a', 0x9e, undefined],
    ]
    if (version === 5) wanted.push(['a', 0xa1, 7])
    for (const [topic, reasonCode, subscriptionIdentifier] of wanted) {
      await countsOnce('subscriptions_refused_total', 'not_supported', async () => {
        const client = await PacketClient.connect(t, broker().port, version)
        const properties = subscriptionIdentifier === undefined ? {} : { subscriptionIdentifier }
        if (version === 4) assert.deepEqual(await client.subscribe(topic), [0x80])
        else {
          const subscriptions = [{ topic, qos: 0, nl: false, rap: false, rh: 0 }] as const
          client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [...subscriptions], properties })
          await client.closedFor(reasonCode)
        }
      })
    }
  })
}

test('[MQTT-3.4.2-2] a PUBACK leaves its reason string out when the client cannot take it, or does not want it', async (t) => {
  const cases = [
    { maximumPacketSize: 20 },
    // [MQTT-3.1.2-29]
    { requestProblemInformation: false },
  ]
  for (const properties of cases) {
    const client = await PacketClient.connect(t, broker().port, 5, { properties })
    client.publish({ topic: 'a', payload: 'x'.repeat(PAYLOAD_BYTES + 1), qos: 1 })
    const puback = await client.next('puback')
    assert.equal(puback.reasonCode, 0x97)
    assert.equal(puback.properties?.reasonString, undefined, JSON.stringify(properties))
  }
})

test('[MQTT-3.1.2-24] a SUBACK that is larger than its client accepts is not sent: the connection ends, with a word that fits', async (t) => {
  const client = await PacketClient.connect(t, broker().port, 5, { properties: { maximumPacketSize: 30 } })
  const subscriptions = Array.from({ length: 40 }, (_, index) => ({ topic: `${index}`, qos: 0 as const }))
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions })
  await client.closedFor(0x95)
})
