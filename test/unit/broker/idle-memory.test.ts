import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createBroker } from '../../../src/index.js'
import { eventually } from '../../support/eventually.js'

const CONNECTIONS = 1_000
/** Bytes of heap of a connection with a session and a subscription, and of the stream that is its socket here. */
const BOUND = 4_000

/** A socket in memory that counts what is said to its client. */
class Client extends Duplex {
  answered = 0

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.answered += chunk.length
    done()
  }

  override _read(): void {
    // What the client says is pushed.
  }
}

test('an idle connection with a subscription costs no more heap than its bound', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  assert(typeof collect === 'function')
  const heapUsed = (): number => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const broker = await createBroker()
  t.after(() => broker.close())
  const clients: Client[] = []
  const connect = async (from: number, count: number): Promise<void> => {
    for (let index = from; index < from + count; index++) {
      const client = new Client()
      clients.push(client)
      broker.handle(client)
      const id = Buffer.from(String(index).padStart(6, '0'))
      // CONNECT of MQTT 3.1.1 with a clean session, and SUBSCRIBE to a filter of its own.
      client.push(
        Buffer.concat([Buffer.from([0x10, 18, 0, 4]), Buffer.from('MQTT'), Buffer.from([4, 2, 0, 0, 0, 6]), id]),
      )
      client.push(Buffer.concat([Buffer.from([0x82, 11, 0, 1, 0, 6]), id, Buffer.from([0])]))
    }
    await eventually(() => assert(clients.every(({ answered }) => answered === 9)), { within: 20_000 })
  }
  // What is made once for all is there before.
  await connect(0, 200)
  const before = heapUsed()
  await connect(200, CONNECTIONS)
  const each = (heapUsed() - before) / CONNECTIONS
  assert(each < BOUND, `${Math.round(each)} bytes`)
})
