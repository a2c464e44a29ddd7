/**
 * A gRPC stream as the cluster sees it, the same on both sides: messages in, messages out, one end. At first a few small
 * messages are taken in and asked for one at a time (the handshake); from `flow` on they go to the listener as they come.
 *
 * gRPC on Node writes one message per event-loop turn. A node with many publishers has long turns, so what is sent
 * while a write is under way gathers into one frame, which is the next write (bench: load, row x50q0).
 */

import { asError, NodeError } from '../util/errors.js'
import type { DataStream } from './data-flow.js'
import { decodeLinkFrame, encodeLinkFrame, type LinkBody } from './wire.js'

export interface LinkStreamListener {
  onMessage(body: LinkBody): void
  /** `isWritable` is true again. */
  onDrain(): void
  /** Once; nothing comes after it. `error` is undefined when both sides ended the stream in good order. */
  onClosed(error: Error | undefined): void
}

/** The part of a gRPC stream, of either side, that the cluster uses. */
export interface ByteCall {
  readonly writableNeedDrain: boolean
  write(bytes: Buffer, written?: () => void): boolean
  end(): unknown
  resume(): unknown
  getPeer(): string
  on(event: 'data', listener: (bytes: Buffer) => void): unknown
  on(event: 'error', listener: (error: unknown) => void): unknown
  on(event: 'end' | 'cancelled' | 'close', listener: () => void): unknown
}

/** Bytes that gather for the next frame before `isWritable` says to wait. */
const GATHER_BYTES = 2 * 1024 * 1024

/** Messages that wait for `receive` or `flow`: a peer says no more than Open and Farewell before it is answered. */
const MAXIMUM_EARLY_MESSAGES = 8

/** Largest frame before `flow`, in bytes: the messages of a handshake are a few hundred. Looked at before decoding. */
const MAXIMUM_EARLY_BYTES = 4 * 1024

export class LinkStream implements DataStream {
  /** Where the other side is, as gRPC names it. */
  readonly remote: string
  private readonly early: (LinkBody | undefined)[] = []
  private receiver: { resolve: (body: LinkBody | undefined) => void; reject: (error: Error) => void } | undefined
  private listener: LinkStreamListener | undefined
  private sent = 0
  private received = 0
  private isUnderWay = false
  private gathered: Buffer[] = []
  private gatheredBytes = 0
  private closed = false
  private failure: Error | undefined

  /**
   * @param call the stream; messages are byte buffers
   * @param terminate cuts the connection below; also called when the stream has ended
   * @param bytesRead bytes that have come on the connection below
   */
  constructor(
    private readonly call: ByteCall,
    private readonly terminate: () => void,
    private readonly bytesRead: () => number,
  ) {
    this.remote = call.getPeer()
    call.on('data', this.onData)
    call.on('end', this.onEnd)
    call.on('error', this.onError)
    call.on('cancelled', this.onCancelled)
    call.on('close', this.onEnd)
  }

  /** False when the peer reads more slowly than this side writes; `onDrain` tells when that is over. */
  get isWritable(): boolean {
    return this.gatheredBytes < GATHER_BYTES && !this.closed
  }

  get isClosed(): boolean {
    return this.closed
  }

  get framesSent(): number {
    return this.sent
  }

  get framesReceived(): number {
    return this.received
  }

  get bytesReceived(): number {
    return this.bytesRead()
  }

  get isWriting(): boolean {
    return this.isUnderWay
  }

  /** Writes in any case: whoever has much to say looks at `isWritable` before. Does nothing after the end. */
  send(body: LinkBody): void {
    if (this.closed) return
    const bytes = encodeLinkFrame(body)
    this.gathered.push(bytes)
    this.gatheredBytes += bytes.length
    if (!this.isUnderWay) this.writeGathered()
  }

  /** The next message; undefined for one that this version does not know. @throws NodeError LINK_CLOSED */
  receive(): Promise<LinkBody | undefined> {
    if (this.early.length > 0) return Promise.resolve(this.early.shift())
    if (this.closed) return Promise.reject(this.failure ?? closedError())
    return new Promise((resolve, reject) => {
      this.receiver = { resolve, reject }
    })
  }

  /** From here on every message goes to the listener, those that came early first. */
  flow(listener: LinkStreamListener): void {
    this.listener = listener
    for (const body of this.early.splice(0)) if (body !== undefined) listener.onMessage(body)
    if (this.closed) listener.onClosed(this.failure)
    else this.call.resume()
  }

  /** Nothing more is written; the connection ends when the other side has ended too. */
  end(): void {
    if (this.closed) return
    this.writeGathered()
    this.call.end()
  }

  /** Ends at once. */
  destroy(error?: Error): void {
    this.close(error)
  }

  private readonly onData = (bytes: Buffer): void => {
    if (this.closed) return
    this.received += 1
    if (this.listener === undefined && bytes.length > MAXIMUM_EARLY_BYTES) return this.close(floodedError())
    let bodies: (LinkBody | undefined)[]
    try {
      bodies = decodeLinkFrame(bytes)
    } catch (error) {
      this.close(new NodeError('a link message is malformed', { code: 'LINK_MALFORMED' }, { cause: error }))
      return
    }
    for (const body of bodies) this.take(body)
  }

  private take(body: LinkBody | undefined): void {
    // The message before it in the frame may have ended the link.
    if (this.closed) return
    if (this.listener !== undefined) {
      if (body !== undefined) this.listener.onMessage(body)
    } else if (this.receiver !== undefined) {
      const { resolve } = this.receiver
      this.receiver = undefined
      resolve(body)
    } else if (this.early.length < MAXIMUM_EARLY_MESSAGES) {
      this.early.push(body)
    } else {
      this.close(floodedError())
    }
  }

  private writeGathered(): void {
    const { gathered, gatheredBytes } = this
    const [first] = gathered
    if (first === undefined) return
    this.gathered = []
    this.gatheredBytes = 0
    this.isUnderWay = true
    this.sent += 1
    this.call.write(gathered.length === 1 ? first : Buffer.concat(gathered, gatheredBytes), this.onWritten)
  }

  private readonly onWritten = (): void => {
    this.isUnderWay = false
    if (this.closed) return
    const wasWritable = this.isWritable
    this.writeGathered()
    if (!wasWritable) this.listener?.onDrain()
  }

  private readonly onEnd = (): void => this.close(undefined)
  private readonly onError = (error: unknown): void => this.close(asError(error))
  private readonly onCancelled = (): void => this.close(new NodeError('the peer cut the link', { code: 'LINK_CUT' }))

  private close(error: Error | undefined): void {
    if (this.closed) return
    this.closed = true
    this.failure = error
    this.terminate()
    this.receiver?.reject(error ?? closedError())
    this.receiver = undefined
    this.listener?.onClosed(error)
  }
}

function floodedError(): NodeError<{ code: 'LINK_FLOODED' }> {
  return new NodeError('the peer does not wait for the handshake', { code: 'LINK_FLOODED' })
}

function closedError(): NodeError<{ code: 'LINK_CLOSED' }> {
  return new NodeError('the link ended', { code: 'LINK_CLOSED' })
}
