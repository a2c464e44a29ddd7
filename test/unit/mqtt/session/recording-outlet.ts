import type { Keeping, Outlet } from '../../../../src/mqtt/session/session.js'
import { decodePublish, decodeTopic, PublishHeader } from '../../../../src/mqtt/wire/decode.js'
import type { Frame } from '../../../../src/mqtt/wire/message.js'

/** One packet that a session sent. */
export interface Sent {
  cmd: 'publish' | 'pubrel' | 'pubcomp'
  packetId: number
  topic?: string
  payload?: string
  qos?: number
  retain?: boolean
  duplicate?: boolean
  /** Seconds; 0 when the frame has none. */
  expiryInterval?: number
}

/** The client's end of a session: keeps what was sent, decoded, and can be slow. */
export class RecordingOutlet implements Outlet {
  readonly sent: Sent[] = []
  isFull = false
  isCongested = false
  /** How often the session has asked to be pumped again. */
  pumpsAskedFor = 0
  isV5: boolean
  sendMaximum: number
  maximumPacketSize: number

  constructor({ isV5 = true, sendMaximum = 100, maximumPacketSize = 1_000_000 } = {}) {
    this.isV5 = isV5
    this.sendMaximum = sendMaximum
    this.maximumPacketSize = maximumPacketSize
  }

  sendFrame(frame: Frame): void {
    this.sent.push(this.read(frame, 0, false))
  }

  sendPublish(frame: Frame, packetId: number, duplicate: boolean): void {
    this.sent.push(this.read(frame, packetId, duplicate))
  }

  pumpLater(): void {
    this.pumpsAskedFor += 1
  }

  sendPubrel(packetId: number): void {
    this.sent.push({ cmd: 'pubrel', packetId })
  }

  sendPubcomp(packetId: number): void {
    this.sent.push({ cmd: 'pubcomp', packetId })
  }

  /** What was sent since the last call: payloads of messages, the names of other packets. */
  take(): (string | undefined)[] {
    return this.takeSent().map((sent) => (sent.cmd === 'publish' ? sent.payload : sent.cmd))
  }

  takeSent(): Sent[] {
    return this.sent.splice(0)
  }

  private read(frame: Frame, packetId: number, duplicate: boolean): Sent {
    const header = new PublishHeader()
    const bytes = Buffer.from(frame.buffer.subarray(frame.start, frame.end))
    if (frame.packetIdOffset !== -1) bytes.writeUInt16BE(packetId, frame.packetIdOffset - frame.start)
    let bodyStart = 2
    while ((bytes[bodyStart - 1] as number) & 0x80) bodyStart += 1
    decodePublish(bytes, bytes[0] as number, bodyStart, bytes.length, this.isV5, header)
    return {
      cmd: 'publish',
      packetId,
      duplicate,
      topic: decodeTopic(bytes, header.topicStart, header.topicEnd),
      payload: bytes.toString('utf8', header.payloadStart, header.payloadEnd),
      qos: header.qos,
      retain: header.retain,
      expiryInterval: header.expiryInterval,
    }
  }
}

/** A publisher that waits for its acknowledgement. */
export class CountingHold implements Keeping {
  isRefused = false
  /** The publish path's own hold is counted, too. */
  holds = 1
  private readonly whenReleased: () => void

  constructor(whenReleased: () => void = () => {}) {
    this.whenReleased = whenReleased
  }

  get isReleased(): boolean {
    return this.holds === 0
  }

  refuse(): void {
    if (this.holds === 0) throw new Error('refused after the last release')
    this.isRefused = true
  }

  hold(): void {
    if (this.holds === 0) throw new Error('hold after the last release')
    this.holds += 1
  }

  release(): void {
    if (this.holds === 0) throw new Error('released once too often')
    this.holds -= 1
    if (this.holds === 0) this.whenReleased()
  }
}
