/**
 * Beats on one link, on a connection of their own, so that no data under way holds them up: that the peer lives, how far
 * away it is, how it is, and whom it sees.
 */

import type { FlowReport } from './data-flow.js'
import type { ByteCall } from './link-stream.js'
import { type Beat, decodeBeat, encodeBeat, type View } from './wire.js'

/** What a node says of itself with each beat. */
export interface BeatStatus {
  connections: number
  routes: number
  /** Seconds. */
  uptime: number
  ready: boolean
  /** It lets its clients go, and takes nobody else's. */
  draining: boolean
  /** Whom the node sees. The same object as long as nothing has changed: it is sent only then. */
  view: View | undefined
}

/** What a peer says of itself; its view only when that has changed. */
export interface HeardBeat extends BeatStatus {
  /** Milliseconds for which the peer had not heard a beat of this node when it sent this one; 0 before the first. */
  unheard: number
  /** What it says of the data connection. */
  flow: FlowReport
}

export interface HeartbeatListener {
  /** `isFirst`: none came before it on this stream. */
  onBeat(beat: HeardBeat, isFirst: boolean): void
  /** The stream ended or failed; no beat comes any more. */
  onHeartbeatClosed(error: Error | undefined): void
}

const NO_TOKEN = new Uint8Array(0)

/** Share of the newest measurement in the smoothed round trip, as TCP does it. [RFC 6298 section 2] */
const RTT_GAIN = 1 / 8

/** Of so many measurements one was not held up by what the network lost. */
const RTT_SAMPLES = 8

export class Heartbeat {
  private echo = 0
  private echoReceivedAt = 0
  private smoothedRtt: number | undefined
  private readonly rtts: number[] = []
  private closed = false
  private sentView: View | undefined

  /**
   * @param token sent with the first beat, by the side that dialed
   * @param terminate cuts the connection below, on the side that accepted it
   */
  constructor(
    private readonly call: ByteCall,
    private readonly listener: HeartbeatListener,
    private token: Uint8Array = NO_TOKEN,
    private readonly terminate: () => void = () => {},
  ) {
    call.on('data', this.onData)
    call.on('error', this.onError)
    call.on('end', this.onEnd)
    call.on('close', this.onEnd)
  }

  /** Milliseconds, smoothed; undefined until measured. */
  get rtt(): number | undefined {
    return this.smoothedRtt
  }

  /** Milliseconds, the least of the last measurements: what the way itself takes. */
  get lowestRtt(): number | undefined {
    return this.rtts.length === 0 ? undefined : Math.min(...this.rtts)
  }

  /** One beat. Skipped while the stream is full: the ones that wait there say the same. */
  send(status: BeatStatus, flow: FlowReport): void {
    if (this.closed || this.call.writableNeedDrain) return
    const now = performance.now()
    const { echo } = this
    const held = echo === 0 ? 0 : now - this.echoReceivedAt
    const view = status.view === this.sentView ? undefined : status.view
    this.call.write(encodeBeat({ ...status, ...flow, view, token: this.token, sent: now, echo, held }))
    this.token = NO_TOKEN
    this.sentView = status.view
  }

  /** A beat that was read before this object existed. */
  receive(beat: Beat): void {
    const now = performance.now()
    const isFirst = this.echo === 0
    if (beat.echo > 0) this.measure(now - beat.echo - beat.held)
    this.echo = beat.sent
    this.echoReceivedAt = now
    const { connections, routes, uptime, ready, draining, view, held, framesDue, bytesReceived } = beat
    const flow = { framesDue, bytesReceived }
    this.listener.onBeat({ connections, routes, uptime, ready, draining, view, unheard: held, flow }, isFirst)
  }

  /** Ends without telling the listener. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.call.end()
    this.terminate()
  }

  private readonly onData = (bytes: Buffer): void => {
    if (this.closed) return
    let beat: Beat
    try {
      beat = decodeBeat(bytes)
    } catch (error) {
      this.onError(error)
      return
    }
    this.receive(beat)
  }

  private readonly onEnd = (): void => this.fail(undefined)
  private readonly onError = (error: unknown): void => this.fail(error instanceof Error ? error : undefined)

  private fail(error: Error | undefined): void {
    if (this.closed) return
    this.closed = true
    this.listener.onHeartbeatClosed(error)
  }

  private measure(milliseconds: number): void {
    if (!(milliseconds >= 0)) return
    this.rtts.push(milliseconds)
    if (this.rtts.length > RTT_SAMPLES) this.rtts.shift()
    const before = this.smoothedRtt
    this.smoothedRtt = before === undefined ? milliseconds : before + (milliseconds - before) * RTT_GAIN
  }
}
