import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import type { Version } from './client.js'
import { packet, properties, text, twoBytes } from './mqtt-bytes.js'
import { uniqueClientId } from './packet-client.js'

/** For one packet of a node under load on a shared core. */
const ANSWER_TIMEOUT_MS = 15_000

const PINGREQ = Buffer.from([0xc0, 0])
const PINGRESP = 'd000'
const CONNACK = 0x20

/** What a CONNECT made of bytes may say. */
export interface ConnectBytes {
  readonly clientId?: string | Uint8Array
  /** The byte of Connect Flags; clean start alone when left out. */
  readonly flags?: number
  /** Seconds; 0 when left out. */
  readonly keepAlive?: number
  /** The properties, without their length; MQTT 5 only. */
  readonly list?: readonly Uint8Array[]
  /** What follows the client ID. */
  readonly payload?: readonly Uint8Array[]
}

/** A CONNECT, sound or not. */
export function connectBytes(
  version: Version,
  { clientId = uniqueClientId(), flags = 0x02, keepAlive = 0, list = [], payload = [] }: ConnectBytes = {},
): Buffer {
  const after = version === 5 ? [properties(...list)] : []
  return packet(0x10, text('MQTT'), version, flags, twoBytes(keepAlive), ...after, text(clientId), ...payload)
}

/**
 * One MQTT connection, byte by byte in both directions: for what a parser would hide, such as the order of properties,
 * the flags of a fixed header, or how a length is written. Frames are told apart by their Remaining Length, no more.
 */
export class FrameClient {
  private received: Buffer = Buffer.alloc(0)
  private wakeUp: (() => void) | undefined
  private hasClosed = false

  private constructor(
    private readonly socket: Socket,
    readonly version: Version,
  ) {
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk])
      this.wakeUp?.()
    })
    // A reset is a way to be closed; what the broker had to say came before it.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.hasClosed = true
      this.wakeUp?.()
    })
  }

  /** A TCP connection on which nothing was sent yet; it is gone when the test ends. */
  static async open(context: TestContext, port: number, version: Version = 5): Promise<FrameClient> {
    const socket = createConnection({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    const client = new FrameClient(socket, version)
    context.after(() => socket.destroy())
    return client
  }

  /** A connection whose CONNECT was accepted. */
  static async connect(
    context: TestContext,
    port: number,
    version: Version = 5,
    fields: ConnectBytes = {},
  ): Promise<FrameClient> {
    const client = await FrameClient.open(context, port, version)
    client.write(connectBytes(version, fields))
    const connack = await client.next()
    assert.ok(connack[0] === CONNACK && codeOf(connack) === 0, `CONNACK accepts: ${connack.toString('hex')}`)
    return client
  }

  write(...parts: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts))
  }

  /** The next whole packet. */
  async next(): Promise<Buffer> {
    const frame = await this.nextOrEnd()
    assert.ok(frame !== undefined, 'closed, a packet expected')
    return frame
  }

  /** The next packet, or undefined when the broker has closed the connection. */
  private async nextOrEnd(): Promise<Buffer | undefined> {
    const deadline = performance.now() + ANSWER_TIMEOUT_MS
    for (;;) {
      const size = frameSize(this.received)
      if (size !== -1) {
        const frame = this.received.subarray(0, size)
        this.received = this.received.subarray(size)
        return frame
      }
      if (this.hasClosed) return undefined
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`no whole packet within ${ANSWER_TIMEOUT_MS} ms: ${this.received.toString('hex')}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.wakeUp = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** The next `count` packets. */
  async nextMany(count: number): Promise<Buffer[]> {
    const frames: Buffer[] = []
    while (frames.length < count) frames.push(await this.next())
    return frames
  }

  /** Everything the broker had to send until it answered a ping: what is not here did not come. */
  async settle(): Promise<Buffer[]> {
    this.write(PINGREQ)
    const before: Buffer[] = []
    for (;;) {
      const frame = await this.next()
      if (frame.toString('hex') === PINGRESP) return before
      before.push(frame)
    }
  }

  /** Waits for the broker to close the connection; returns what came before. */
  async closed(): Promise<Buffer[]> {
    const before: Buffer[] = []
    for (;;) {
      const frame = await this.nextOrEnd()
      if (frame === undefined) return before
      before.push(frame)
    }
  }

  /** The connection is closed for this reason: said in a CONNACK or DISCONNECT in MQTT 5, silently before. */
  async closedFor(reasonCode: number, what = ''): Promise<void> {
    const said = (await this.closed().catch((error: unknown) => assert.fail(`${what}: ${String(error)}`))).map(
      (frame) => [(frame[0] ?? 0) >> 4, codeOf(frame)],
    )
    assert.deepEqual(
      said.map(([, code]) => code),
      this.version === 5 ? [reasonCode] : [],
      what,
    )
    assert.ok(
      said.every(([type]) => type === 2 || type === 14),
      what,
    )
  }

  /** SUBSCRIBE to one filter and its SUBACK. `options` is the byte behind the filter, the QoS and in MQTT 5 more. */
  async subscribe(filter: string, options = 0): Promise<void> {
    const list = this.version === 5 ? [properties()] : []
    this.write(packet(0x82, twoBytes(1), ...list, text(filter), options))
    const suback = await this.next()
    assert.equal(suback[0], 0x90, suback.toString('hex'))
    assert.ok((suback[suback.length - 1] ?? 0xff) <= 2, `granted: ${suback.toString('hex')}`)
  }

  /** Ends the connection without a DISCONNECT. */
  drop(): void {
    this.socket.destroy()
  }
}

/** The code of a CONNACK (its second byte) or of a DISCONNECT (its first, 0 when it is left out). */
export function codeOf(frame: Buffer): number {
  if (frame[0] === CONNACK) return frame[3] ?? -1
  return frame[1] === 0 ? 0 : (frame[2] ?? -1)
}

/** Bytes of the first packet in a buffer; -1 when it is not whole. */
function frameSize(bytes: Buffer): number {
  let remaining = 0
  for (let at = 1; at < bytes.length; at += 1) {
    const byte = bytes[at] as number
    remaining += (byte & 0x7f) * 128 ** (at - 1)
    if (byte > 0x7f) continue
    const size = at + 1 + remaining
    return size <= bytes.length ? size : -1
  }
  return -1
}
