/**
 * A Connection is one socket and the protocol state that dies with it.
 *
 *   waiting ──CONNECT──► opening ──CONNACK 0──► open ──► closed
 *      └───────────────────┴──refused, failed──────────────┘
 *
 * waiting: no CONNECT yet. opening: the host authenticates and finds the session; input is held. open: packets flow.
 * closed: the session is detached and the host told; input is ignored while the last bytes leave.
 */

import type { Duplex } from 'node:stream'
import type { MqttOptions } from '../config/options.js'
import { TimerEntry } from '../util/timer-wheel.js'
import type { Authentication } from './authentication.js'
import { type CloseReason, closeReasonOf, closeReasonOfStream } from './close-reason.js'
import { type ConnectionState, nextState } from './connection-state.js'
import { dispatchFrame } from './dispatch.js'
import type { ClientRights, ConnectionModules, Host, IdentityProof } from './host.js'
import { type AckSender, type InboundAck, InboundAcks } from './inbound-acks.js'
import { HoldReason, Input, type InputOwner } from './input.js'
import { Liveness } from './liveness.js'
import type { ConnectionOrigin } from './origin.js'
import { Outbox } from './outbox.js'
import { Output, type OutputOwner } from './output.js'
import { PublishTopics } from './publish-topics.js'
import { disconnectFor } from './server-reference.js'
import type { Session } from './session/session.js'
import { bindStream, type StreamOwner } from './stream-events.js'
import type { ConnackPacket, ProtocolVersion, Will } from './wire/packets.js'
import { MqttError, ReasonCode } from './wire/reason-codes.js'

/** How long the last bytes of a closing connection may take to leave, in milliseconds. */
const CLOSE_GRACE_MS = 2_000

export class Connection extends TimerEntry implements InputOwner, OutputOwner, StreamOwner, AckSender {
  readonly stream: Duplex
  readonly origin: ConnectionOrigin
  readonly host: Host
  /** Of the protocol, as they are for the clients of this listener. */
  readonly options: MqttOptions
  private readonly modules: ConnectionModules
  readonly input: Input
  private readonly outbox: Outbox
  readonly output: Output
  readonly liveness: Liveness
  private currentState: ConnectionState = 'waiting'
  private closeReason: CloseReason = 'client_closed'
  /** What it ended for, where that is an error; may be set before `close`. */
  closeError: Error | undefined

  clientId = ''
  username: string | undefined
  /** How the user name was proved; set before `host.open` by what proves it earlier: TLS, an AUTH exchange. */
  provenBy: IdentityProof | undefined
  /** What the client may do; undefined: anything. */
  rights: ClientRights | undefined
  /** Published when the connection ends other than by a DISCONNECT that forbids it. [MQTT-3.1.2-8] */
  will: Will | undefined
  session: Session | undefined
  /** Milliseconds since the epoch. */
  readonly openedAt = Date.now()
  /** The face that Aedes' hooks and events see, made when it is first asked for. */
  facade: object | undefined
  /** Set for a client that named an Authentication Method. [MQTT 5.0 section 4.12] */
  authentication: Authentication | undefined
  private publishTopics: PublishTopics | undefined
  private acks: InboundAcks | undefined

  constructor(stream: Duplex, origin: ConnectionOrigin, host: Host) {
    super()
    this.stream = stream
    this.origin = origin
    this.host = host
    this.modules = host.modules
    const { outbox, timers, metrics } = host.modules
    const options = origin.policy?.options ?? host.modules.options
    this.options = options
    this.input = new Input(stream, this, host.modules)
    this.outbox = new Outbox(stream, options.outboxLimit, outbox, this)
    this.output = new Output(this.outbox, this, outbox.turn, metrics.packetsSent, options.inflightWindow)
    this.liveness = new Liveness(this.outbox, options.drainTimeout)
    metrics.connectionsOpened.value++
    timers.schedule(this, options.connectTimeout)
    bindStream(stream, this)
  }

  get state(): ConnectionState {
    return this.currentState
  }

  get version(): ProtocolVersion {
    return this.output.version
  }

  get isV5(): boolean {
    return this.output.isV5
  }

  /** Bytes that wait to be written. */
  get pendingBytes(): number {
    return this.outbox.pendingBytes
  }

  get topics(): PublishTopics {
    this.publishTopics ??= new PublishTopics(
      this.isV5 ? this.options.topicAliasMaximum : 0,
      this.host.modules.topicNames,
    )
    return this.publishTopics
  }

  get inboundAcks(): InboundAcks {
    this.acks ??= new InboundAcks(this)
    return this.acks
  }

  // ── input ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Bytes from the socket. */
  receive(chunk: Buffer): void {
    if (!this.isReading) return
    this.modules.metrics.bytesReceived.value += chunk.length
    if (this.waitsInDoubt()) return this.input.postpone(chunk)
    // Bytes of a packet that never ends are no sign of life. [MQTT-3.1.2-22]
    if (this.input.receive(chunk)) this.liveness.heard()
  }

  /** What has come when this process stood still waits until it knows whether the sessions here are still its own. */
  waitsInDoubt(): boolean {
    const { doubt } = this.host
    if (doubt?.isInDoubt !== true) return false
    this.input.holdFor(HoldReason.Doubt)
    this.liveness.heard()
    doubt.whenSure(Number.POSITIVE_INFINITY, () => this.input.letGo(HoldReason.Doubt))
    return true
  }

  /** One whole frame from the splitter; false stops it until `proceed`. */
  frame(chunk: Buffer, firstByte: number, start: number, bodyStart: number, end: number): boolean {
    dispatchFrame(this, chunk, firstByte, start, bodyStart, end)
    return !this.input.isHeld && this.isReading
  }

  get expectsAcks(): boolean {
    return this.session !== undefined && this.session.subscriptionCount + this.session.inFlightCount > 0
  }

  inputHandled(): void {
    if (!this.outbox.isFull) return
    // Flushed first, since only a congested stream says when it has drained.
    this.outbox.flush()
    if (this.outbox.isCongested) this.input.holdFor(HoldReason.Outbox)
  }

  /** Stops handling packets after the present one, until as many `proceed` calls have come. */
  holdInput(): void {
    this.input.hold()
  }

  proceed(): void {
    this.input.proceed()
  }

  get isReading(): boolean {
    return this.currentState !== 'closed'
  }

  // ── states ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** CONNECT is here; packets behind it wait for the CONNACK. */
  beginOpening(): void {
    this.moveTo('opening')
    this.holdInput()
  }

  /** The session is found: CONNACK, then what the session has in store, then further input. */
  open(session: Session, connack: ConnackPacket, will: Will | undefined): void {
    this.session = session
    this.output.send(connack)
    if (!this.isReading) return // it did not fit, and nobody was let in
    this.will = will
    this.host.connackSent(this, connack)
    this.moveTo('open')
    this.liveness.heard()
    this.watch(performance.now())
    session.attach(this.output)
    this.host.opened(this)
    this.proceed()
  }

  /**
   * Ends the connection for a failure: with the reason code that MQTT 5 names for it, where the client speaks 5.0,
   * and silently before. [MQTT-4.13.1-1], [MQTT-4.13.2-1]
   */
  fail(error: unknown): void {
    if (error instanceof MqttError) {
      this.closeError = error
      this.close(closeReasonOf(error.reasonCode), error.reasonCode, error.message)
      return
    }
    this.closeError = error instanceof Error ? error : new Error(String(error))
    this.modules.log.error({ clientId: this.clientId, err: this.closeError }, 'connection failed on an internal error')
    this.close('internal_error', ReasonCode.ImplementationSpecificError, 'internal error')
  }

  /** Ends the connection; with a reason code an MQTT 5 client that is connected gets a DISCONNECT first. */
  close(reason: CloseReason, reasonCode?: number, reasonString?: string): void {
    if (!this.isReading) return
    this.closeReason = reason
    if (this.currentState === 'open' && this.isV5 && reasonCode !== undefined) {
      this.output.send(disconnectFor(reasonCode, this.output.problem(reasonString), this.options))
    }
    this.outbox.flush()
    this.finish()
    // Listening goes on, so that a late end or error is seen; what arrives is thrown away.
    this.stream.resume()
    this.endStream()
  }

  private endStream(): void {
    this.stream.end()
    this.modules.timers.schedule(this, CLOSE_GRACE_MS)
  }

  /** Answers CONNECT with a refusal and ends the connection. [MQTT-3.1.4-1] */
  refuse(connack: ConnackPacket | undefined, error: Error): void {
    this.closeError = error
    if (connack !== undefined) {
      this.output.send(connack)
      this.host.connackSent(this, connack)
    }
    this.close('refused')
  }

  /** The socket ended by itself. */
  private socketEnded(reason: CloseReason, error?: Error): void {
    if (error !== undefined) this.closeError = error
    if (this.isReading) {
      this.closeReason = reason
      this.finish()
    }
  }

  socketFailed(error: Error): void {
    this.socketEnded(closeReasonOfStream(error), error)
  }

  /** The client has ended its half of the stream: what is gathered still leaves, then ours ends too. */
  inputEnded(): void {
    if (!this.isReading) return
    // A socket that does not stay half-open has ended its other half by now.
    if (this.stream.writable) this.outbox.flush()
    this.socketEnded('client_closed')
    this.endStream()
  }

  /** The stream is gone for good. */
  socketClosed(): void {
    this.socketEnded('client_closed')
    this.modules.timers.cancel(this)
  }

  /** Tells the session and the host, once. */
  private finish(): void {
    this.moveTo('closed')
    this.modules.timers.cancel(this)
    this.modules.metrics.connectionsClosed[this.closeReason].value++
    this.input.close()
    this.outbox.close()
    this.acks?.close()
    this.authentication?.abandon()
    this.session?.detach()
    this.host.closed(this, this.closeReason, this.closeError)
  }

  private moveTo(next: ConnectionState): void {
    this.currentState = nextState(this.currentState, next)
  }

  // ── timers ───────────────────────────────────────────────────────────────────────────────────────────────────

  override onTimeout(): void {
    if (this.currentState === 'closed') {
      this.stream.destroy()
      return
    }
    if (this.currentState === 'waiting' || this.currentState === 'opening') {
      this.close('connect_timeout')
      return
    }
    // A client whose input is held cannot show that it lives: its time begins anew.
    if (this.input.isHeld) this.liveness.heard()
    const now = performance.now()
    const overdue = this.liveness.overdue(now)
    if (overdue === 'keep_alive_timeout') this.close(overdue, ReasonCode.KeepAliveTimeout, 'no packet came in time')
    else if (overdue === 'drain_timeout') this.closeSlow(overdue)
    else this.watch(now)
  }

  /** Looks again when the client may be late. */
  private watch(now: number): void {
    const left = this.liveness.left(now)
    if (left === Number.POSITIVE_INFINITY) this.modules.timers.cancel(this)
    else this.modules.timers.schedule(this, left)
  }

  /** It has not read in the drain time what waited at its beginning: waiting for its socket to flush would keep its bytes even longer. */
  private closeSlow(reason: CloseReason): void {
    this.close(reason)
    this.stream.destroy()
  }

  // ── output ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** PUBACK or PUBREC of a PUBLISH that is kept, or refused. */
  sendPublishAck(ack: InboundAck): void {
    if (ack.isRefused) {
      this.modules.metrics.publishesRefused.store_failing.value++
      // Before MQTT 5 nothing but the end of the connection says so; the client sends it again on the next one.
      if (!this.isV5) return this.close('store_failing')
      // A PUBREC with an error ends the exchange. [MQTT-4.3.3-4]
      if (ack.qos === 2) this.session?.inboundQos2.release(ack.packetId)
    }
    this.output.sendPublishAck(ack)
    if (this.inboundAcks.length < this.options.receiveMaximum) this.input.letGo(HoldReason.Acks)
  }

  /** The session sends what it may. */
  pump(): void {
    this.session?.pump()
  }

  /** The outbox found the stream unwilling to take more. */
  congested(): void {
    if (this.currentState !== 'open') return
    const now = performance.now()
    if (this.liveness.congested(now)) this.watch(now)
  }

  /** The stream takes more again. */
  drained(): void {
    this.liveness.drained()
    this.pump()
    this.input.letGo(HoldReason.Outbox)
  }
}
