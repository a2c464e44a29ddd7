/**
 * The reading half of a connection: bytes from the stream to whole frames, and the reasons for which reading stops.
 *
 * A connection reads one full chunk per event-loop turn. libuv would read on for up to 2 MiB from a socket that always
 * has more, and fifty such publishers would make a turn last a second, with all writes at its end (bench: load,
 * row b50q0). TLS and WebSocket hand over what they have read in pieces, a record or a message at a time, so there the
 * bytes of a turn are counted.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { MqttOptions } from '../config/options.js'
import type { TurnTask } from '../util/turn.js'
import type { ConnectionModules } from './host.js'
import { RateLimit, type RateLimited } from './rate-limit.js'
import { ReadAhead, type Reader } from './read-ahead.js'
import { type FrameSink, FrameSplitter } from './wire/frame-splitter.js'

/** What libuv reads at a time: a chunk of this size means that there is probably more. */
const FULL_CHUNK_BYTES = 64 * 1024

/** A client that lets this many SUBSCRIBE packets wait for their SUBACK is not read further until some are out. */
const PENDING_SUBACKS = 256

/** Lasting reasons not to read, each in force or not; `hold` and `proceed` count the passing ones. */
export const HoldReason = {
  /** A publisher that does not know of Receive Maximum has too much unacknowledged. */
  Acks: 1,
  /** Too many SUBSCRIBE packets wait for their SUBACK. */
  Subacks: 2,
  /** The client does not read its answers, and nothing else bounds those. */
  Outbox: 4,
  /** The client sends faster than it may. */
  Rate: 8,
  /** This process has stood still, and what the client sends may be another node's to take. */
  Doubt: 16,
} as const

export type HoldReason = (typeof HoldReason)[keyof typeof HoldReason]

export interface InputOwner extends FrameSink {
  readonly options: MqttOptions
  /** False when the connection is closed: nothing is read any more. */
  readonly isReading: boolean
  /** Whether acknowledgements of messages that were sent to the client may come. */
  readonly expectsAcks: boolean
  /** The frames of a chunk are handled. */
  inputHandled(): void
  /** Holds what has come before this process stood still, too, as long as there is doubt (`HoldReason.Doubt`); true when it does. */
  waitsInDoubt(): boolean
  /** Handling a frame threw. */
  fail(error: unknown): void
}

/** What an input needs of what connections share. */
export type InputModules = Pick<ConnectionModules, 'timers' | 'outbox' | 'metrics'>

export class Input implements TurnTask, RateLimited, Reader {
  isQueued = false
  private readonly splitter: FrameSplitter
  /** Where frames go: to the owner, through the rate limit where there is one. */
  private readonly sink: FrameSink
  private readonly rate: RateLimit | undefined
  /** While frames are read ahead, or wait since. */
  private ahead: ReadAhead | undefined
  private passingHolds = 0
  private lastingHolds = 0
  private pendingSubacks = 0
  private isSplitting = false
  /** False for a plain socket, which has no more for now when a chunk is not full. */
  private readonly comesInPieces: boolean
  /** Of pieces, the bytes in this turn. */
  private turnBytes = 0

  constructor(
    private readonly stream: Duplex,
    private readonly owner: InputOwner,
    private readonly modules: InputModules,
  ) {
    this.splitter = new FrameSplitter(owner.options.maximumPacketSize)
    this.rate = rateLimitFor(this, owner, modules)
    this.sink = this.rate ?? owner
    this.comesInPieces = !(stream instanceof Socket) || stream instanceof TLSSocket
  }

  /** Packets wait to be handled, or to be read. */
  get isHeld(): boolean {
    return this.passingHolds > 0 || this.lastingHolds !== 0
  }

  /** Held for acknowledgements alone, and reading on for those of the client. */
  get isReadingAhead(): boolean {
    return (
      this.lastingHolds === HoldReason.Acks &&
      this.passingHolds === 0 &&
      this.ahead?.hasRoom === true &&
      this.owner.isReading
    )
  }

  private get isStopped(): boolean {
    return this.isHeld && !this.isReadingAhead
  }

  /** Bytes from the stream. Returns whether a packet is among them, as far as can be told while packets are held. */
  receive(chunk: Buffer): boolean {
    const buffered = this.splitter.bufferedBytes
    this.split(chunk)
    this.rate?.received(chunk.length)
    this.yieldTurn(chunk.length)
    return this.isHeld || this.splitter.bufferedBytes - buffered < chunk.length
  }

  /** Holds a chunk back, with all that follows, until `letGo(HoldReason.Doubt)`. */
  postpone(chunk: Buffer): void {
    this.splitter.postpone(chunk)
    this.rate?.received(chunk.length)
    this.holdFor(HoldReason.Doubt)
  }

  /** Whoever has had its share of the turn is read on in the next. */
  private yieldTurn(bytes: number): void {
    if (this.comesInPieces) {
      this.turnBytes += bytes
      this.modules.outbox.turn.add(this)
      if (this.turnBytes < FULL_CHUNK_BYTES) return
    } else if (bytes < FULL_CHUNK_BYTES) return
    if (this.isStopped || !this.owner.isReading) return
    this.stream.pause()
    this.modules.outbox.turn.add(this)
  }

  /** The turn is over: whoever waited for this connection has had its turn. */
  runTurn(): void {
    this.turnBytes = 0
    if (!this.isStopped && this.owner.isReading) this.stream.resume()
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
    if ((this.lastingHolds & reason) === 0) this.countPause(reason)
    this.lastingHolds |= reason
    if (!this.isSplitting) this.stream.pause()
  }

  /** The reason is gone, if it was there. */
  letGo(reason: HoldReason): void {
    if ((this.lastingHolds & reason) === 0) return
    this.lastingHolds &= ~reason
    this.goOn()
  }

  /** A SUBSCRIBE waits for its SUBACK. */
  beginSuback(): void {
    this.pendingSubacks++
    if (this.pendingSubacks >= PENDING_SUBACKS) this.holdFor(HoldReason.Subacks)
  }

  /** Its SUBACK is out. */
  endSuback(): void {
    this.pendingSubacks--
    if (this.pendingSubacks < PENDING_SUBACKS / 2) this.letGo(HoldReason.Subacks)
  }

  pauseForRate(): void {
    this.holdFor(HoldReason.Rate)
  }

  resumeFromRate(): void {
    this.letGo(HoldReason.Rate)
  }

  /** The connection is over. */
  close(): void {
    this.rate?.stop()
    this.ahead?.clear()
    this.ahead = undefined
  }

  private countPause(reason: HoldReason): void {
    const { inputPaused } = this.modules.metrics
    if (reason === HoldReason.Acks) inputPaused.unacknowledged.value++
    else if (reason === HoldReason.Subacks) inputPaused.subscribing.value++
    else if (reason === HoldReason.Outbox) inputPaused.outbox_full.value++
    else if (reason === HoldReason.Doubt) inputPaused.stood_still.value++
    // The rate limit says itself which of its two it was.
  }

  private goOn(): void {
    if (this.isStopped || this.isSplitting || !this.owner.isReading || this.owner.waitsInDoubt()) return
    this.split(undefined)
    if (!this.isStopped && this.owner.isReading) this.stream.resume()
  }

  /** Handles the frames of a chunk, or those left of the last one; stops the stream when the owner stops in between. */
  private split(chunk: Buffer | undefined): void {
    this.isSplitting = true
    try {
      const sink = this.ahead ?? this.sink
      if (chunk === undefined) this.splitter.resume(sink)
      else this.splitter.push(chunk, sink)
      if (this.ahead !== undefined || this.lastingHolds === HoldReason.Acks) this.splitAhead()
      this.owner.inputHandled()
    } catch (error) {
      this.owner.fail(error)
    } finally {
      this.isSplitting = false
    }
    if (this.isStopped && this.owner.isReading) this.stream.pause()
  }

  /** Reads ahead where that may help, and hands on what has waited once it may go: until one or the other stops. */
  private splitAhead(): void {
    while (this.owner.isReading) {
      if (this.ahead === undefined) {
        if (!this.startsReadingAhead()) return
      } else if (!this.isHeld) {
        if (!this.ahead.replay()) continue
        this.ahead = undefined
      } else if (!this.isReadingAhead || !this.splitter.isStopped) return
      this.splitter.resume(this.ahead ?? this.sink)
    }
  }

  private startsReadingAhead(): boolean {
    const { options } = this.owner
    const { metrics } = this.modules
    if (this.lastingHolds !== HoldReason.Acks || this.passingHolds > 0) return false
    if (options.readAhead === 0 || !this.owner.expectsAcks) return false
    this.ahead = new ReadAhead(this, this.sink, options.readAhead, options.maximumPacketSize, metrics.readAheadBytes)
    return true
  }
}

function rateLimitFor(input: RateLimited, owner: InputOwner, { timers, metrics }: InputModules): RateLimit | undefined {
  const { packetsPerSecond, bytesPerSecond } = owner.options
  const rates = { packets: perSecond(packetsPerSecond), bytes: perSecond(bytesPerSecond) }
  if (rates.packets === Number.POSITIVE_INFINITY && rates.bytes === Number.POSITIVE_INFINITY) return undefined
  return new RateLimit(rates, owner, input, { timers, metrics })
}

/** 0 in the options is no limit. */
function perSecond(limit: number): number {
  return limit === 0 ? Number.POSITIVE_INFINITY : limit
}
