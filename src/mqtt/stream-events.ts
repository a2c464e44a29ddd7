/**
 * The events of a socket's stream, to its connection. There is one function per event for all connections: the stream
 * finds its owner through a symbol, so that an idle connection does not pay for five closures.
 */

import type { Duplex } from 'node:stream'

export interface StreamOwner {
  receive(chunk: Buffer): void
  /** The stream takes more again. */
  drained(): void
  /** The other side has ended its half. */
  inputEnded(): void
  socketFailed(error: Error): void
  /** The stream is gone for good. */
  socketClosed(): void
}

const OWNER = Symbol('owner')

interface OwnedStream extends Duplex {
  [OWNER]?: StreamOwner
}

/** From now on `owner` hears of everything that happens to the stream. */
export function bindStream(stream: Duplex, owner: StreamOwner): void {
  const owned = stream as OwnedStream
  owned[OWNER] = owner
  stream.on('data', onData)
  stream.on('drain', onDrain)
  stream.on('end', onEnd)
  stream.on('error', onError)
  stream.on('close', onClose)
}

function onData(this: OwnedStream, chunk: Buffer): void {
  this[OWNER]?.receive(chunk)
}

function onDrain(this: OwnedStream): void {
  this[OWNER]?.drained()
}

function onEnd(this: OwnedStream): void {
  this[OWNER]?.inputEnded()
}

function onError(this: OwnedStream, error: Error): void {
  this[OWNER]?.socketFailed(error)
}

function onClose(this: OwnedStream): void {
  this[OWNER]?.socketClosed()
}
