import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { useBroker } from '../support/broker.js'
import { eventually } from '../support/eventually.js'
import { PacketClient, uniqueClientId } from '../support/packet-client.js'

const QUEUE_LENGTH = 50
const QUEUE_HOLD_TIME_MS = 200

const broker = useBroker({ mqtt: { queueLength: QUEUE_LENGTH, queueHoldTime: QUEUE_HOLD_TIME_MS } })

/** Whether a session of this client ID is kept, asked in a way that leaves it as it is. */
async function isPresent(t: TestContext, clientId: string): Promise<boolean> {
  const client = await PacketClient.connect(t, broker().port, 4, { clientId, clean: false })
  client.drop()
  return client.connack?.sessionPresent ?? false
}

test('a 3.1.1 session without clean session outlives its connection, a clean one does not', async (t) => {
  const [kept, clean] = [uniqueClientId(), uniqueClientId()]
  const first = await PacketClient.connect(t, broker().port, 4, { clientId: kept, clean: false })
  first.drop()
  const other = await PacketClient.connect(t, broker().port, 4, { clientId: clean, clean: true })
  other.drop()
  await eventually(async () => assert.equal(await isPresent(t, kept), true))
  assert.equal(await isPresent(t, clean), false)
})

test('a full queue first holds its publishers back, then drops and counts: every acked message is delivered or counted', async (t) => {
  const clientId = uniqueClientId()
  const fields = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
  const away = await PacketClient.connect(t, broker().port, 5, fields)
  await away.subscribe('bounded', 1)
  await away.disconnect()
  const dropped = async (): Promise<number> =>
    (await broker().node().metrics()).value('shoalmq_messages_dropped_total', { reason: 'queue_full' })
  const before = await dropped()
  const publisher = await PacketClient.connect(t, broker().port)
  const started = performance.now()
  const rounds = 4
  for (let round = 0; round < rounds; round += 1) {
    for (let number = 1; number <= QUEUE_LENGTH; number += 1) {
      publisher.publish({ topic: 'bounded', payload: `${round * QUEUE_LENGTH + number}`, qos: 1 })
    }
    await publisher.nextMany('puback', QUEUE_LENGTH)
  }
  assert.ok(performance.now() - started >= QUEUE_HOLD_TIME_MS, 'the acknowledgements were held back')
  const lost = (await dropped()) - before
  assert.ok(lost > 0, 'and then messages were dropped')
  const back = await PacketClient.connect(t, broker().port, 5, fields)
  const got = await back.receive(rounds * QUEUE_LENGTH - lost)
  await back.expectNothing()
  assert.ok(got.length <= 2 * QUEUE_LENGTH, `${got.length} waited in a queue of ${QUEUE_LENGTH}`)
  const numbers = got.map((packet) => Number(packet.payload))
  assert.deepEqual(
    numbers,
    [...numbers].sort((a, b) => a - b),
    'in order',
  )
  await back.disconnect({ properties: { sessionExpiryInterval: 0 } })
})
