/**
 * How many deliveries one core hands to sockets a second: one message to 50 and to 1,000 connected sessions, whose
 * sockets take everything at once.
 * Run: `node --import tsx test/bench/fan-out.bench.ts`
 */

import { Duplex } from 'node:stream'
import { Outbox, type OutboxModules, Slab } from '../../src/mqtt/outbox.js'
import { Message } from '../../src/mqtt/wire/message.js'
import { TurnQueue } from '../../src/util/turn.js'
import { measure } from './micro.js'

const MESSAGES_PER_TURN = 100
const payload = Buffer.alloc(64, 'x')

/** A socket whose other side reads without end. */
class Sink extends Duplex {
  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
  }

  override _read(): void {
    // Nothing comes from there.
  }
}

function outboxes(count: number): Outbox[] {
  const turn = new TurnQueue({
    onError: (error) => {
      throw error
    },
  })
  const modules: OutboxModules = { turn, publishSlab: new Slab(), ackSlab: new Slab(), bytesSent: { value: 0 } }
  const owner = { congested: () => undefined }
  return Array.from({ length: count }, () => new Outbox(new Sink(), 4_194_304, modules, owner))
}

function measureFanOut(count: number, qos: 0 | 1): void {
  const receivers = outboxes(count)
  let packetId = 0
  measure(`1 to ${count}, QoS ${qos}`, 'deliveries', () => {
    for (let i = 0; i < MESSAGES_PER_TURN; i++) {
      const message = Message.from('bench/a/topic', payload, { qos })
      packetId = (packetId % 65_535) + 1
      for (const outbox of receivers) {
        const frame = message.frame(false, qos, false)
        if (qos === 0) outbox.write(frame.buffer, frame.start, frame.end)
        else outbox.writePublish(frame, packetId, false)
      }
    }
    for (const outbox of receivers) outbox.flush()
    return MESSAGES_PER_TURN * count
  })
}

for (const count of [50, 1_000]) {
  measureFanOut(count, 0)
  measureFanOut(count, 1)
}
