import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy that keeps what each dialing side has said: what a listener on the wire has. */
export class RecordingProxy {
  private readonly server: Server
  private readonly sockets = new Set<Socket>()
  private readonly recorded: Buffer[][] = []

  /** @param target port on 127.0.0.1 */
  constructor(target: number) {
    this.server = createServer((near) => {
      const far = connect(target, '127.0.0.1')
      const chunks: Buffer[] = []
      this.recorded.push(chunks)
      near.on('data', (chunk: Buffer) => chunks.push(chunk))
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.sockets.add(from)
        from.pipe(to)
        from.on('error', () => to.destroy())
        from.on('close', () => to.destroy())
      }
    })
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  /** What was said on each connection, by the side that dialed. */
  recordings(): Buffer[] {
    return this.recorded.map((chunks) => Buffer.concat(chunks))
  }

  stop(): void {
    this.server.close()
    for (const socket of this.sockets) socket.destroy()
  }
}
