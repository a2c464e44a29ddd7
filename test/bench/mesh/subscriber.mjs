/**
 * A client that only subscribes, with as little of its own cost as can be: MQTT 3.1.1 packets made of bytes, and what
 * comes in counted by its first byte. Messages that come are not read.
 */

import { once } from 'node:events'
import { connect } from 'node:net'

const SUBACK = 0x90

export class Subscriber {
  #socket
  #received = Buffer.alloc(0)
  #acknowledged = 0
  #wakeUp = () => {}

  /** @param {number} port @param {string} clientId */
  static async connect(port, clientId) {
    const subscriber = new Subscriber(connect(port, '127.0.0.1'))
    await once(subscriber.#socket, 'connect')
    const id = text(clientId)
    subscriber.#socket.write(packet(0x10, [text('MQTT'), Buffer.from([4, 2, 0, 0]), id]))
    return subscriber
  }

  constructor(socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.#take(chunk))
    // The node has gone, or this has: whoever waits for an acknowledgement finds out by its time.
    socket.on('error', () => {})
  }

  /** Subscribes to all, so many filters in a packet, with several packets under way. @param {readonly string[]} filters */
  async subscribe(filters, perPacket = 500, underWay = 4) {
    let sent = this.#acknowledged
    for (let from = 0; from < filters.length; from += perPacket) {
      while (sent - this.#acknowledged >= underWay) await this.#news()
      const entries = filters.slice(from, from + perPacket).flatMap((filter) => [text(filter), Buffer.from([0])])
      sent += 1
      this.#socket.write(packet(0x82, [Buffer.from([(sent >> 8) & 0xff, sent & 0xff || 1]), ...entries]))
    }
    while (this.#acknowledged < sent) await this.#news()
  }

  drop() {
    this.#socket.destroy()
  }

  #news() {
    return new Promise((resolve) => {
      this.#wakeUp = resolve
    })
  }

  #take(chunk) {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    for (;;) {
      const frame = frameEnd(this.#received)
      if (frame === undefined) return
      if (this.#received[0] === SUBACK) this.#acknowledged += 1
      this.#received = this.#received.subarray(frame)
      this.#wakeUp()
    }
  }
}

/** Where the first packet ends; undefined when it is not whole. */
function frameEnd(bytes) {
  let remaining = 0
  for (let at = 1; at < Math.min(bytes.length, 5); at += 1) {
    remaining |= (bytes[at] & 0x7f) << (7 * (at - 1))
    if (bytes[at] < 0x80) return at + 1 + remaining <= bytes.length ? at + 1 + remaining : undefined
  }
  return undefined
}

function text(value) {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
}

function packet(first, parts) {
  const body = Buffer.concat(parts)
  const length = []
  for (let left = body.length; ; left >>= 7) {
    length.push(left > 0x7f ? (left & 0x7f) | 0x80 : left)
    if (left <= 0x7f) break
  }
  return Buffer.concat([Buffer.from([first, ...length]), body])
}
