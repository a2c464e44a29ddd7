import { Duplex } from 'node:stream'

/** A socket whose kernel takes bytes only when the test says so. */
export class SlowStream extends Duplex {
  /** What reached the kernel, one entry per write. */
  readonly writes: Buffer[] = []
  private waiting: { chunks: Buffer[]; done: () => void } | undefined

  constructor(
    private readonly isSlow: boolean,
    highWaterMark = 16_384,
  ) {
    super({ writableHighWaterMark: highWaterMark })
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.handOver([chunk], done)
  }

  override _writev(list: { chunk: Buffer }[], done: () => void): void {
    this.handOver(
      list.map(({ chunk }) => chunk),
      done,
    )
  }

  /** The kernel has room again. */
  async proceed(): Promise<void> {
    const { waiting } = this
    this.waiting = undefined
    if (waiting === undefined) return
    this.writes.push(Buffer.concat(waiting.chunks))
    waiting.done()
    await nextTurn()
  }

  get received(): Buffer {
    return Buffer.concat(this.writes)
  }

  private handOver(chunks: Buffer[], done: () => void): void {
    this.waiting = { chunks, done }
    if (this.isSlow) return
    this.waiting = undefined
    this.writes.push(Buffer.concat(chunks))
    done()
  }
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
