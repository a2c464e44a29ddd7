import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { IPublishPacket } from 'mqtt-packet'
import type { Replica } from '../../../src/broker/ports.js'
import type { Keeping, Store } from '../../../src/broker/store-port.js'
import { LoneBroker } from './lone-broker.js'
import { until } from './stream-client.js'

/** A replica with a store behind it that commits, or fails to, when the test says so. */
class TestStore implements Replica, Store {
  isFailing = false
  readonly written: [topic: string, isRemoval: boolean][] = []
  private waiting: Keeping[] = []

  set(key: string, value: Uint8Array | undefined, keeping?: Keeping): boolean {
    this.written.push([key, value === undefined])
    if (keeping !== undefined) {
      keeping.hold()
      this.waiting.push(keeping)
    }
    return true
  }

  get(): undefined {}

  expire(): void {}

  table(): never {
    throw new Error('a broker has no tables')
  }

  commit(): void {
    for (const keeping of this.waiting.splice(0)) keeping.release()
  }

  fail(): void {
    this.isFailing = true
    for (const keeping of this.waiting.splice(0)) {
      keeping.refuse()
      keeping.release()
    }
  }
}

function setUp(context: TestContext): { lone: LoneBroker; store: TestStore } {
  const lone = new LoneBroker(context)
  const store = new TestStore()
  lone.broker.replicateRetainedThrough(store, store)
  return { lone, store }
}

function retained(qos: 0 | 1 | 2, messageId: number, payload = 'x'): IPublishPacket {
  return { cmd: 'publish', topic: 'a', payload, qos, messageId, retain: true, dup: false }
}

describe('a retained message that a store keeps', () => {
  it('is acknowledged after the commit, with what came behind it', async (t) => {
    const { lone, store } = setUp(t)
    const client = await lone.connect()
    client.sendTogether(retained(1, 1), { ...retained(1, 2), retain: false }, retained(2, 3))
    await until(() => store.written.length === 2, 'not yet')
    assert.equal(client.received.filter(({ cmd }) => cmd === 'puback' || cmd === 'pubrec').length, 0)
    store.commit()
    await until(() => client.received.some(({ cmd }) => cmd === 'pubrec'), 'not yet')
    const acks = client.received.filter(({ cmd }) => cmd === 'puback' || cmd === 'pubrec')
    assert.deepEqual(
      acks.map(({ cmd, messageId }) => [cmd, messageId]),
      [
        ['puback', 1],
        ['puback', 2],
        ['pubrec', 3],
      ],
    )
  })

  it('is refused with 0x83 when the commit fails, and its QoS 2 id is free again [MQTT-4.3.3-4]', async (t) => {
    const { lone, store } = setUp(t)
    const client = await lone.connect()
    client.sendTogether(retained(1, 1), retained(2, 2))
    await until(() => store.written.length === 2, 'not yet')
    store.fail()
    await until(() => client.received.some(({ cmd }) => cmd === 'pubrec'), 'not yet')
    const codes = client.received.flatMap((packet) =>
      packet.cmd === 'puback' || packet.cmd === 'pubrec' ? [packet.reasonCode] : [],
    )
    assert.deepEqual(codes, [0x83, 0x83])
    assert.equal(lone.metrics.mqtt.publishesRefused.store_failing.value, 2)
    assert.equal(lone.metrics.mqtt.publishesRefused.duplicate_qos2.value, 0)
    store.isFailing = false
    client.send(retained(2, 2, 'again'))
    await until(() => store.written.length === 3, 'not yet')
    assert.equal(lone.metrics.mqtt.publishesRefused.duplicate_qos2.value, 0)
  })

  it('ends the connection of a client before MQTT 5 when the commit fails', async (t) => {
    const { lone, store } = setUp(t)
    const client = await lone.connect({}, 4)
    client.send(retained(1, 1))
    await until(() => store.written.length === 1, 'not yet')
    store.fail()
    await until(() => client.hasEnded, 'not yet')
    assert.deepEqual(lone.closeReasons, { store_failing: 1 })
    assert.equal(
      client.received.some(({ cmd }) => cmd === 'puback'),
      false,
    )
  })

  it('is refused when it comes again after its connection broke before the commit failed, and then a new one', async (t) => {
    const { lone, store } = setUp(t)
    const fields = { clean: false, properties: { sessionExpiryInterval: 60 } }
    const first = await lone.connect(fields)
    first.send(retained(2, 7))
    await until(() => store.written.length === 1, 'not yet')
    first.drop()
    await until(() => lone.connections[0]?.state === 'closed', 'not yet')
    store.fail()
    store.isFailing = false
    const second = await lone.connect(fields)
    const codes = (): (number | undefined)[] =>
      second.received.flatMap((packet) => (packet.cmd === 'pubrec' ? [packet.reasonCode ?? 0] : []))
    second.send({ ...retained(2, 7), dup: true })
    await until(() => codes().length === 1, 'not yet')
    // Whoever has it already does not get it twice.
    assert.equal(store.written.length, 1)
    second.send(retained(2, 7))
    await until(() => store.written.length === 2, 'not yet')
    store.commit()
    await until(() => codes().length === 2, 'not yet')
    // Nobody has subscribed.
    assert.deepEqual(codes(), [0x83, 0x10])
  })

  it('is refused before anybody has it while the store fails, in any version; what removes one is tried', async (t) => {
    const { lone, store } = setUp(t)
    store.isFailing = true
    const [v5, v4] = [await lone.connect({ clientId: 'v5' }), await lone.connect({ clientId: 'v4' }, 4)]
    v5.sendTogether(retained(1, 1), { ...retained(1, 2), retain: false }, retained(0, 0), retained(1, 3, ''))
    await until(() => store.written.length === 2, 'not yet')
    assert.deepEqual(store.written, [
      ['a', false],
      ['a', true],
    ])
    store.commit()
    await until(() => v5.received.filter(({ cmd }) => cmd === 'puback').length === 3, 'not yet')
    const codes = v5.received.flatMap((packet) => (packet.cmd === 'puback' ? [packet.reasonCode ?? 0] : []))
    assert.deepEqual(
      codes.map((code) => code >= 0x80),
      [true, false, false],
    )
    v4.send(retained(1, 1))
    await until(() => v4.hasEnded, 'not yet')
    assert.deepEqual(lone.closeReasons, { store_failing: 1 })
  })
})
