/**
 * A gRPC stream as the cluster sees it, the same on both sides: messages in, messages out, one end. At first messages
 * are asked for one at a time (the handshake); from `flow` on they come as they come.
 */

import { asError, NodeError } from '../util/errors.js'
import { decodeLinkMessage, encodeLinkMessage, type LinkBody } from './wire.js'

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
  write(bytes: Buffer): boolean
  end(): unknown
  resume(): unknown
  getPeer(): string
  on(event: 'data', listener: (bytes: Buffer) => void): unknown
  on(event: 'error', listener: (error: unknown) => void): unknown
  on(event: 'drain' | 'end' | 'cancelled' | 'close', listener: () => void): unknown
}

/** Messages that wait for `receive` or `flow`: a peer says no more than Open and Farewell before it is answered. */
const MAXIMUM_EARLY_MESSAGES = 8

export class LinkStream {
  /** Where the other side is, as gRPC names it. */
  readonly remote: string
  private readonly early: (LinkBody | undefined)[] = []
  private receiver: { resolve: (body: LinkBody | undefined) => void; reject: (error: Error) => void } | undefined
  private listener: LinkStreamListener | undefined
  private hasRoom = true
  private closed = false
  private failure: Error | undefined

  /**
   * @param call the stream; messages are byte buffers
   * @param terminate cuts the connection below; also called when the stream has ended
   */
  constructor(
    private readonly call: ByteCall,
    private readonly terminate: () => void,
  ) {
    this.remote = call.getPeer()
    call.on('data', this.onData)
    call.on('drain', this.onDrain)
    call.on('end', this.onEnd)
    call.on('error', this.onError)
    call.on('cancelled', this.onCancelled)
    call.on('close', this.onEnd)
  }

  /** False when the peer reads more slowly than this side writes; `onDrain` tells when that is over. */
  get isWritable(): boolean {
    return this.hasRoom && !this.closed
  }

  get isClosed(): boolean {
    return this.closed
  }

  /** Writes in any case: whoever has much to say looks at `isWritable` before. Does nothing after the end. */
  send(body: LinkBody): void {
    if (this.closed) return
    this.hasRoom = this.call.write(encodeLinkMessage(body)) && this.hasRoom
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
    if (!this.closed) this.call.end()
  }

  /** Ends at once. */
  destroy(error?: Error): void {
    this.close(error)
  }

  private readonly onData = (bytes: Buffer): void => {
    if (this.closed) return
    let body: LinkBody | undefined
    try {
      body = decodeLinkMessage(bytes)
    } catch (error) {
      this.close(new NodeError('a link message is malformed', { code: 'LINK_MALFORMED' }, { cause: error }))
      return
    }
    if (this.listener !== undefined) {
      if (body !== undefined) this.listener.onMessage(body)
    } else if (this.receiver !== undefined) {
      const { resolve } = this.receiver
      this.receiver = undefined
      resolve(body)
    } else if (this.early.length < MAXIMUM_EARLY_MESSAGES) {
      this.early.push(body)
    } else {
      this.close(new NodeError('the peer does not wait for the handshake', { code: 'LINK_FLOODED' }))
    }
  }

  private readonly onDrain = (): void => {
    this.hasRoom = true
    this.listener?.onDrain()
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

function closedError(): NodeError<{ code: 'LINK_CLOSED' }> {
  return new NodeError('the link ended', { code: 'LINK_CLOSED' })
}
