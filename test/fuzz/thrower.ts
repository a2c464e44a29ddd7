/** Sends inputs to a node, each over a connection of its own, many at once. */

import { connect, type Socket } from 'node:net'
import type { Input, Transport } from './inputs.js'

/** A client that has sent all it has, and ended its half, is closed well before this. */
const CLOSE_TIMEOUT_MS = 30_000
/** A system that is full of connections of the last minute answers some late or never: those are tried again. */
const CONNECT_TIMEOUT_MS = 2_000
const CHECK_EVERY_MS = 1_000
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
    private readonly ports: Record<Transport, number>,
    private readonly concurrency: number,
  ) {}

  /** Resolves when there is room for another one; the input is then on its way. @throws when one is left open. */
  async throw(index: number, input: Input): Promise<void> {
    await this.untilAtMost(this.concurrency - 1)
    this.start(index, input)
  }

  /** Resolves when nothing is on its way. @throws when one is left open. */
  drained(): Promise<void> {
    return this.untilAtMost(0)
  }

  /** @throws when the node has left the connection of an input open for too long. */
  check(): void {
    const before = performance.now() - CLOSE_TIMEOUT_MS
    for (const { since, index } of this.underWay) {
      if (since < before) throw new Error(`the connection of input ${index} is left open`)
    }
  }

  private async untilAtMost(count: number): Promise<void> {
    while (this.underWay.size > count) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, CHECK_EVERY_MS)
        this.wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.check()
    }
  }

  /** Destroys what is on its way. */
  stop(): void {
    this.isStopped = true
    for (const { socket } of this.underWay) socket.destroy()
  }

  private start(index: number, input: Input): void {
    const port = this.ports[input.transport]
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
    let isRefused = false
    // The node may reset a connection that it has had enough of; one that is gone shows in the checks.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      isRefused ||= error.code === 'ECONNREFUSED'
      socket.destroy()
    })
    socket.once('close', () => {
      this.underWay.delete(thrown)
      if (!isConnected && !isRefused) {
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
  const chunk = input.wire[next]
  if (chunk !== undefined) {
    socket.write(chunk, () => send(socket, input, next + 1))
    return
  }
  // A deaf client that has ended would wait for the node's end, which comes behind what it does not read.
  if (input.ending === 'reset' || input.isDeaf) socket.resetAndDestroy()
  else socket.end()
}
