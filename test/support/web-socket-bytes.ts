/** WebSocket as bytes on a socket, sound or not: what no client library would send. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { openSocket } from './hostile.js'

export const Opcode = { Continuation: 0, Text: 1, Binary: 2, Close: 8, Ping: 9, Pong: 10 } as const

export interface FrameFields {
  opcode: number
  payload?: Buffer
  /** Last of its message; true unless said otherwise. */
  isFinal?: boolean
  /** RSV1 is 4, RSV2 is 2, RSV3 is 1. */
  reserved?: number
  /** As every client must; false is what only servers send. */
  isMasked?: boolean
  /** In the place of the length of the payload. */
  claimedLength?: bigint
}

/** One frame. [RFC 6455 section 5.2] */
export function frame(fields: FrameFields): Buffer {
  const { opcode, payload = Buffer.alloc(0), isFinal = true, reserved = 0, isMasked = true } = fields
  const length = fields.claimedLength ?? BigInt(payload.length)
  const first = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode
  const maskBit = isMasked ? 0x80 : 0
  let head: Buffer
  if (length < 126n) head = Buffer.from([first, maskBit | Number(length)])
  else if (length <= 0xffffn) {
    head = Buffer.from([first, maskBit | 126, 0, 0])
    head.writeUInt16BE(Number(length), 2)
  } else {
    head = Buffer.from([first, maskBit | 127, 0, 0, 0, 0, 0, 0, 0, 0])
    head.writeBigUInt64BE(length, 2)
  }
  // A mask of zeros is a mask.
  return Buffer.concat(isMasked ? [head, Buffer.alloc(4), payload] : [head, payload])
}

/** The HTTP request of a WebSocket client. */
export function upgradeRequest(headers: Record<string, string> = {}): string {
  const all: Record<string, string> = {
    Host: 'localhost',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Protocol': 'mqtt',
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET /mqtt HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** A socket that has been upgraded; the answer's head comes with it. */
export async function openWebSocket(
  t: TestContext,
  port: number,
  headers: Record<string, string> = {},
): Promise<{ socket: Socket; head: string }> {
  const socket = await openSocket(t, port)
  socket.write(upgradeRequest(headers))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  return { socket, head: answer.toString('latin1') }
}
