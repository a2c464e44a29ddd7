/**
 * Enhanced authentication on one connection: the exchange between CONNECT and CONNACK, and later ones while the
 * connection is open and other packets flow. [MQTT 5.0 section 4.12]
 *
 *   idle ──CONNECT, AUTH 0x19──► asking ──continue: AUTH 0x18──► awaiting ──AUTH 0x18──► asking
 *     ▲                            │
 *     └──done: CONNACK, AUTH 0x00──┘    refused: CONNACK with the reason; DISCONNECT 0x87 when it was open
 *
 * asking: the authenticator has the client's data; an AUTH that comes now is out of turn. awaiting: the client's next
 * AUTH is due. The opening exchange has the time that CONNECT has (`mqtt.connectTimeout`), a later one its own.
 */

import { TimerEntry } from '../util/timer-wheel.js'
import type { AuthenticationExchange, AuthenticationStep, EnhancedAuthenticator } from './authenticator.js'
import { refuseConnect } from './connect-refusal.js'
import type { Connection } from './connection.js'
import { decodePacket } from './wire/decode.js'
import type { AuthPacket } from './wire/packets.js'
import { MqttError, protocolError, ReasonCode } from './wire/reason-codes.js'

/** Of an AUTH packet, all but method and data, at most: fixed header, reason code, three lengths, two identifiers. */
const AUTH_OVERHEAD_BYTES = 5 + 1 + 4 + 6

type AuthenticationState = 'idle' | 'asking' | 'awaiting'

/** Called when the opening exchange has succeeded, with the data for CONNACK. */
type AdmitCallback = (data: Buffer | undefined) => void

export class Authentication extends TimerEntry {
  private state: AuthenticationState = 'idle'
  private exchange: AuthenticationExchange | undefined
  private admit: AdmitCallback | undefined

  constructor(
    private readonly connection: Connection,
    private readonly authenticator: EnhancedAuthenticator,
  ) {
    super()
  }

  /** The same for as long as the connection lasts. [MQTT-4.12.0-5] */
  get method(): string {
    return this.authenticator.method
  }

  /** CONNECT has come, and the connection is opening with its input held; it is held again when `admit` is called. */
  open(data: Buffer | undefined, admit: AdmitCallback): void {
    this.admit = admit
    this.begin(data)
  }

  /** @throws MqttError for an AUTH that is not allowed here. */
  receive({ reasonCode, properties }: AuthPacket): void {
    if (properties.authenticationMethod !== this.method) {
      // [MQTT-4.12.0-5] [MQTT-4.12.1-1]; 0x8C is not among the codes of DISCONNECT.
      const code = this.isOpening ? ReasonCode.BadAuthenticationMethod : ReasonCode.ProtocolError
      throw new MqttError(code, 'AUTH with another Authentication Method than CONNECT [MQTT-4.12.0-5]')
    }
    const { authenticationData } = properties
    if (reasonCode === ReasonCode.ReAuthenticate) {
      if (this.state !== 'idle') throw protocolError('AUTH 0x19 within an authentication [MQTT 5.0 section 4.12.1]')
      const { options, host } = this.connection
      const { timers } = host.modules
      timers.schedule(this, options.authenticationTimeout)
      this.begin(authenticationData)
    } else {
      if (this.state !== 'awaiting') throw protocolError('AUTH 0x18 that was not asked for [MQTT 5.0 section 4.12]')
      if (this.isOpening) this.connection.holdInput()
      this.ask(authenticationData)
    }
  }

  /** The connection is over. */
  abandon(): void {
    this.exchange = undefined
    this.admit = undefined
    this.connection.host.modules.timers.cancel(this)
  }

  /** The re-authentication is not done in time. */
  override onTimeout(): void {
    this.connection.host.modules.metrics.authentications.timed_out.value++
    this.connection.close('authentication_timeout', ReasonCode.NotAuthorized, 're-authentication took too long')
  }

  private get isOpening(): boolean {
    return this.admit !== undefined
  }

  private begin(data: Buffer | undefined): void {
    const { clientId, username, origin } = this.connection
    const { remoteAddress, listener } = origin
    const isReauthentication = !this.isOpening
    this.exchange = this.authenticator.begin({ clientId, username, remoteAddress, listener, isReauthentication })
    this.ask(data)
  }

  private ask(data: Buffer | undefined): void {
    const { exchange } = this
    if (exchange === undefined) return
    this.state = 'asking'
    let step: AuthenticationStep | Promise<AuthenticationStep>
    try {
      step = exchange.next(data)
    } catch (error) {
      return this.failed(exchange, error)
    }
    if (!('then' in step)) return this.apply(exchange, step)
    const applied = step.then(
      (value) => this.apply(exchange, value),
      (error: unknown) => this.failed(exchange, error),
    )
    // What goes wrong after the answer is not the authenticator's.
    applied.catch((error: unknown) => this.connection.fail(error))
  }

  private apply(exchange: AuthenticationExchange, step: AuthenticationStep): void {
    // The connection has ended meanwhile.
    if (this.exchange !== exchange) return
    if ('refuse' in step) return this.refuse(step.refuse, step.reason ?? 'not authorized')
    const data = 'continue' in step ? step.continue : step.done
    if (!this.fits(data)) return this.refuse(ReasonCode.PacketTooLarge, 'the authentication data does not fit')
    if ('continue' in step) {
      this.state = 'awaiting'
      this.send(ReasonCode.ContinueAuthentication, step.continue) // [MQTT-4.12.0-3]
      if (this.isOpening) this.connection.proceed()
    } else this.succeed(step.done, step.username)
  }

  /** Whether an AUTH with this data is within what the client accepts. [MQTT-3.1.2-24] */
  private fits(data: Buffer | undefined): boolean {
    const bytes = AUTH_OVERHEAD_BYTES + Buffer.byteLength(this.method) + (data?.length ?? 0)
    return bytes <= this.connection.output.maximumPacketSize
  }

  private succeed(data: Buffer | undefined, username: string | undefined): void {
    const { connection, admit } = this
    const { metrics, timers } = connection.host.modules
    // It is somebody already: by an exchange before this one, or to TLS.
    const isSomebody = admit === undefined || connection.provenBy !== undefined
    if (isSomebody && username !== undefined && username !== connection.username) {
      return this.refuse(ReasonCode.NotAuthorized, 'authentication as another user')
    }
    metrics.authentications.accepted.value++
    this.state = 'idle'
    this.exchange = undefined
    this.admit = undefined
    if (admit !== undefined) {
      connection.username = username ?? connection.username
      admit(data)
    } else {
      timers.cancel(this)
      this.send(ReasonCode.Success, data)
    }
  }

  private refuse(reasonCode: number, reason: string): void {
    const { connection } = this
    const { metrics, log } = connection.host.modules
    metrics.authentications.refused.value++
    const code = reasonCode >= ReasonCode.UnspecifiedError ? reasonCode : ReasonCode.NotAuthorized
    log.debug({ clientId: connection.clientId, reasonCode: code, detail: reason }, 'enhanced authentication refused')
    if (this.isOpening)
      refuseConnect(connection, new MqttError(code, reason)) // [MQTT-4.12.0-4]
    else connection.close('not_authorized', ReasonCode.NotAuthorized, reason) // [MQTT-4.12.1-2]
  }

  /** The authenticator itself has failed: nobody is let in. */
  private failed(exchange: AuthenticationExchange, error: unknown): void {
    const { connection } = this
    const { metrics, log } = connection.host.modules
    metrics.authentications.failed.value++
    log.error({ clientId: connection.clientId, err: error }, 'enhanced authentication failed on an internal error')
    // The connection has ended meanwhile.
    if (this.exchange !== exchange) return
    const refusal = new MqttError(ReasonCode.UnspecifiedError, 'authentication is not possible now')
    if (this.isOpening) refuseConnect(connection, refusal)
    else connection.close('internal_error', ReasonCode.NotAuthorized, refusal.message)
  }

  private send(reasonCode: number, authenticationData: Buffer | undefined): void {
    const properties = { authenticationMethod: this.method }
    this.connection.output.send({
      cmd: 'auth',
      reasonCode,
      properties: authenticationData === undefined ? properties : { ...properties, authenticationData },
    })
  }
}

/**
 * A packet between CONNECT and CONNACK: with enhanced authentication AUTH and DISCONNECT may come [MQTT-3.1.2-30], and
 * a failure is answered, since the client waits for a CONNACK.
 */
export function handleWhileOpening(
  connection: Connection,
  chunk: Buffer,
  firstByte: number,
  start: number,
  end: number,
): void {
  const { authentication } = connection
  if (authentication === undefined) throw protocolError('a packet before CONNACK was due')
  try {
    const packet = decodePacket(chunk, firstByte, start, end, connection.version)
    connection.host.modules.metrics.packetsReceived[packet.cmd].value++
    if (packet.cmd === 'auth') authentication.receive(packet)
    else if (packet.cmd === 'disconnect') connection.close('client_disconnect')
    else throw protocolError(`${packet.cmd} within an authentication [MQTT-3.1.2-30]`)
  } catch (error) {
    if (!(error instanceof MqttError)) throw error
    refuseConnect(connection, error)
  }
}

/** AUTH on an open connection. @throws MqttError when CONNECT named no method [MQTT-4.12.0-7], or it is out of turn. */
export function handleAuth(connection: Connection, packet: AuthPacket): void {
  if (connection.authentication === undefined) {
    throw protocolError('AUTH without an Authentication Method in CONNECT [MQTT-4.12.0-7]')
  }
  connection.authentication.receive(packet)
}
