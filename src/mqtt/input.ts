/**
 * The reading half of a connection: bytes from the stream to whole frames, and the reasons for which reading stops.
 *
 * A connection reads one full chunk per event-loop turn. libuv would read on for up to 2 MiB from a socket that always
 * has more, and fifty such publishers would make a turn last a second, with all writes at its end (bench: load,
 * row b50q0).
 */

import type { Duplex } from 'node:stream'
import type { TurnQueue, TurnTask } from '../util/turn.js'
import { type FrameSink, FrameSplitter } from './wire/frame-splitter.js'

/** What libuv reads at a time: a chunk of this size means that there is probably more. */
const FULL_CHUNK_BYTES = 64 * 1024

/** Lasting reasons not to read, each in force or not; `hold` and `proceed` count the passing ones. */
export const HoldReason = {
  /** A publisher that does not know of Receive Maximum has too much unacknowledged. */
  Acks: 1,
  /** Too many SUBSCRIBE packets wait for their SUBACK. */
  Subacks: 2,
  /** The client does not read its answers, and nothing else bounds those. */
  Outbox: 4,
} as const

export type HoldReason = (typeof HoldReason)[keyof typeof HoldReason]

export interface InputOwner extends FrameSink {
  /** False when the connection is closed: nothing is read any more. */
  readonly isReading: boolean
  /** The frames of a chunk are handled. */
  inputHandled(): void
  /** Handling a frame threw. */
  fail(error: unknown): void
}

export class Input implements TurnTask {
  isQueued = false
  private readonly splitter: FrameSplitter
  private passingHolds = 0
  private lastingHolds = 0
  private isSplitting = false

  constructor(
    private readonly stream: Duplex,
    private readonly owner: InputOwner,
    private readonly turn: TurnQueue,
    maximumPacketSize: number,
  ) {
    this.splitter = new FrameSplitter(maximumPacketSize)
  }

  /** Packets wait to be handled, or to be read. */
  get isHeld(): boolean {
    return this.passingHolds > 0 || this.lastingHolds !== 0
  }

  /** Bytes from the stream. */
  receive(chunk: Buffer): void {
    this.split(chunk)
    if (chunk.length < FULL_CHUNK_BYTES || this.isHeld || !this.owner.isReading) return
    this.stream.pause()
    this.turn.add(this)
  }

  /** The turn is over: whoever waited for this connection has had its turn. */
  runTurn(): void {
    if (!this.isHeld && this.owner.isReading) this.stream.resume()
  }

  /** Stops handling packets after the present one, until as many `proceed` calls have come. */
  hold(): void {
    this.passingHolds++
  }

  proceed(): void {
    this.passingHolds--
    this.goOn()
  }

  holdFor(reason: HoldReason): void {
    this.lastingHolds |= reason
    if (!this.isSplitting) this.stream.pause()
  }

  /** The reason is gone, if it was there. */
  letGo(reason: HoldReason): void {
    if ((this.lastingHolds & reason) === 0) return
    this.lastingHolds &= ~reason
    this.goOn()
  }

  private goOn(): void {
    if (this.isHeld || this.isSplitting || !this.owner.isReading) return
    this.split(undefined)
    if (!this.isHeld && this.owner.isReading) this.stream.resume()
  }

  /** Handles the frames of a chunk, or those left of the last one; stops the stream when the owner stops in between. */
  private split(chunk: Buffer | undefined): void {
    this.isSplitting = true
    try {
      if (chunk === undefined) this.splitter.resume(this.owner)
      else this.splitter.push(chunk, this.owner)
      this.owner.inputHandled()
    } catch (error) {
      this.owner.fail(error)
    } finally {
      this.isSplitting = false
    }
    if (this.isHeld && this.owner.isReading) this.stream.pause()
  }
}
