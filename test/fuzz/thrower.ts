/** Sends inputs to a node, each over a connection of its own, many at once. */

import { connect, type Socket } from 'node:net'
import type { Input } from './inputs.js'

/** A client that has sent all it has, and ended its half, is closed well before this. */
const CLOSE_TIMEOUT_MS = 30_000
/** A system that is full of connections of the last minute answers some late or never: those are tried again. */
const CONNECT_TIMEOUT_MS = 2_000
/** Loopback addresses that connections come from, in turn: those of one have too few ports for a long run. */
const ADDRESSES = 200

export interface Thrown {
  index: number
  since: number
  socket: Socket
}

export class Thrower {
  /** What is on its way now. */
  readonly underWay = new Set<Thrown>()
  done = 0
  /** Connections that the system had to be asked for again. */
  retries = 0
  bytesSent = 0
  bytesReceived = 0
  private wake: (() => void) | undefined
  private isStopped = false

  constructor(
    private readonly port: number,
    private readonly concurrency: number,
  ) {}

  /** Resolves when there is room for another one; the input is then on its way. */
  async throw(index: number, input: Input): Promise<void> {
    while (this.underWay.size >= this.concurrency) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
    this.start(index, input)
  }

  /** Resolves when nothing is on its way. */
  async drained(): Promise<void> {
    while (this.underWay.size > 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
  }

  /** The first input whose connection the node has left open for too long. */
  leftOpen(): Thrown | undefined {
    const before = performance.now() - CLOSE_TIMEOUT_MS
    for (const thrown of this.underWay) if (thrown.since < before) return thrown
    return undefined
  }

  /** Destroys what is on its way. */
  stop(): void {
    this.isStopped = true
    for (const { socket } of this.underWay) socket.destroy()
  }

  private start(index: number, input: Input): void {
    const { port } = this
    const localAddress = `127.0.0.${2 + ((index + this.retries) % ADDRESSES)}`
    const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true })
    const thrown: Thrown = { index, since: performance.now(), socket }
    this.underWay.add(thrown)
    let isConnected = false
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy())
    socket.once('connect', () => {
      isConnected = true
      socket.setTimeout(0)
      thrown.since = performance.now()
      send(socket, input, 0)
    })
    if (input.isDeaf) socket.pause()
    else socket.on('data', (chunk) => (this.bytesReceived += chunk.length))
    // The node may reset a connection that it has had enough of; a port that nobody listens on shows in the checks.
    socket.on('error', () => socket.destroy())
    socket.once('close', () => {
      this.underWay.delete(thrown)
      if (!isConnected) {
        this.retries += 1
        if (!this.isStopped) this.start(index, input)
        return
      }
      this.bytesSent += socket.bytesWritten
      this.done += 1
      const { wake } = this
      this.wake = undefined
      wake?.()
    })
  }
}

/** Chunk by chunk, each in a turn of its own so that they leave as they are. */
function send(socket: Socket, input: Input, next: number): void {
  if (socket.destroyed) return
  const chunk = input.chunks[next]
  if (chunk !== undefined) {
    socket.write(chunk, () => send(socket, input, next + 1))
    return
  }
  // A deaf client that has ended would wait for the node's end, which comes behind what it does not read.
  if (input.ending === 'reset' || input.isDeaf) socket.resetAndDestroy()
  else socket.end()
}
