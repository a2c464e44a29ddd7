/**
 * A TCP proxy whose connections can be cut, frozen or refused: the network between two nodes, as a test wants it.
 */

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

interface Pair {
  readonly near: Socket
  readonly far: Socket
}

export class CuttableProxy {
  private readonly server: Server
  private readonly pairs = new Set<Pair>()
  private isRefusing = false
  private isFrozen = false
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
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
    this.pairs.clear()
  }

  /** Cuts, and lets nobody through until `heal`. */
  split(): void {
    this.isRefusing = true
    this.cut()
  }

  /** Keeps connections open and passes nothing, until `heal`. */
  freeze(): void {
    this.isFrozen = true
    for (const { near, far } of this.pairs) {
      near.pause()
      far.pause()
    }
  }

  heal(): void {
    this.isRefusing = false
    this.isFrozen = false
    for (const { near, far } of this.pairs) {
      near.resume()
      far.resume()
    }
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
    const pair: Pair = { near, far }
    this.pairs.add(pair)
    const end = (): void => {
      near.destroy()
      far.destroy()
      this.pairs.delete(pair)
    }
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', end)
      from.on('close', end)
      from.on('data', (bytes) => {
        if (to.write(bytes)) return
        from.pause()
        to.once('drain', () => {
          if (!this.isFrozen) from.resume()
        })
      })
      if (this.isFrozen) from.pause()
    }
  }
}
