/**
 * A TCP proxy whose connections can be cut, frozen, slowed or refused: the network between two nodes, as a test wants it.
 */

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

interface Pair {
  readonly near: Socket
  readonly far: Socket
  /** Bytes that have passed, in both directions. */
  bytes: number
}

/** What stands still in a frozen proxy; everything unless told otherwise. */
export interface Freeze {
  /** `in`: what goes to the target; `out`: what comes from it. */
  direction?: 'in' | 'out'
  /** Only the connection that has carried most; new ones pass. */
  only?: 'busiest'
}

/** How often a slow connection takes what it may. */
const SLOW_STEP_MS = 20

export class CuttableProxy {
  private readonly server: Server
  private readonly pairs = new Set<Pair>()
  private isRefusing = false
  /** Sockets that are not read. */
  private readonly frozen = new Set<Socket>()
  /** Of connections to come. */
  private frozenDirections: ReadonlySet<'in' | 'out'> = new Set()
  /** Bytes a second that each connection takes to the target; Infinity unless slowed. */
  private speed = Infinity
  /** Connections accepted so far. */
  accepted = 0

  /** @param target where connections go on to: port on 127.0.0.1, read at each connection */
  constructor(private readonly target: () => number) {
    this.server = createServer({ noDelay: true }, (near) => this.pass(near))
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Connections that pass now. */
  get connections(): number {
    return this.pairs.size
  }

  /** Listens on a port of the system's choice. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen(0, '127.0.0.1', () => resolve())
    })
  }

  /** Cuts every connection, in both directions at once. Bytes under way are lost. */
  cut(): void {
    for (const { near, far } of this.pairs) {
      reset(near)
      reset(far)
    }
    this.pairs.clear()
  }

  /** Cuts, and lets nobody through until `heal`. */
  split(): void {
    this.isRefusing = true
    this.cut()
  }

  /** Keeps connections open and passes nothing, or nothing one way, until `heal`. */
  freeze({ direction, only }: Freeze = {}): void {
    const directions = new Set(direction === undefined ? (['in', 'out'] as const) : [direction])
    if (only === undefined) this.frozenDirections = directions
    const busiest = [...this.pairs].sort((one, other) => other.bytes - one.bytes)
    for (const pair of only === undefined ? busiest : busiest.slice(0, 1)) this.hold(pair, directions)
  }

  /** What goes to the target goes at so many bytes a second on each connection, until `heal`. */
  slow(speed: number): void {
    this.speed = speed
  }

  heal(): void {
    this.isRefusing = false
    this.speed = Infinity
    this.frozenDirections = new Set()
    for (const socket of this.frozen) socket.resume()
    this.frozen.clear()
  }

  async stop(): Promise<void> {
    this.cut()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }

  private pass(near: Socket): void {
    if (this.isRefusing) {
      near.resetAndDestroy()
      return
    }
    this.accepted += 1
    const far = connect({ port: this.target(), host: '127.0.0.1', noDelay: true })
    const pair: Pair = { near, far, bytes: 0 }
    this.pairs.add(pair)
    const end = (): void => {
      near.destroy()
      far.destroy()
      this.pairs.delete(pair)
      this.frozen.delete(near)
      this.frozen.delete(far)
    }
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', end)
      from.on('close', end)
      from.on('data', (bytes) => {
        pair.bytes += bytes.length
        const goOn = (): void => {
          if (!this.frozen.has(from)) from.resume()
        }
        if (from === near && this.speed !== Infinity) {
          from.pause()
          this.trickle(bytes, to, goOn)
        } else if (!to.write(bytes)) {
          from.pause()
          to.once('drain', goOn)
        }
      })
    }
    this.hold(pair, this.frozenDirections)
  }

  private trickle(bytes: Buffer, to: Socket, goOn: () => void): void {
    const step = Math.ceil(Math.min(bytes.length, (this.speed * SLOW_STEP_MS) / 1000))
    if (!to.destroyed) to.write(bytes.subarray(0, step))
    const rest = bytes.subarray(step)
    setTimeout(() => (rest.length === 0 ? goOn() : this.trickle(rest, to, goOn)), SLOW_STEP_MS).unref()
  }

  private hold({ near, far }: Pair, directions: ReadonlySet<'in' | 'out'>): void {
    for (const [direction, from] of [
      ['in', near],
      ['out', far],
    ] as const) {
      if (!directions.has(direction)) continue
      from.pause()
      this.frozen.add(from)
    }
  }
}

/** Node.js cannot reset a socket that says goodbye: its process would never end. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
