/**
 * A socket between being accepted and speaking MQTT: it passes stages (PROXY header, TLS, WebSocket upgrade), all of
 * them together in a given time. Where a listener has none of them there is no Arrival.
 */

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TimerEntry } from '../../util/timer-wheel.js'
import type { ClientCertificate } from '../origin.js'
import type { Ticket } from './admission.js'
import type { RefusalReason } from './metrics.js'

/** One step on the way in; it calls the next one, or refuses. */
export interface Stage {
  begin(arrival: Arrival): void
}

export interface ArrivalOwner {
  /** Whether this is a proxy that will name its client by `X-Forwarded-For`. */
  isForwarder(address: string): boolean
  /** The arrival has failed, and its socket closes; called once, and not after `finish`. */
  refused(arrival: Arrival, reason: RefusalReason): void
  /** The arrival has ended, one way or the other; called once. */
  ended(arrival: Arrival): void
}

export class Arrival extends TimerEntry {
  /** What the next stage reads: the socket, or TLS over it. */
  stream: Duplex
  certificate: ClientCertificate | undefined
  pskIdentity: string | undefined
  /** What it counts as when the socket closes now. */
  closesAs: RefusalReason = 'gone'
  private address = ''
  private hasEnded = false

  constructor(
    readonly socket: Socket,
    private readonly ticket: Ticket,
    private readonly owner: ArrivalOwner,
  ) {
    super()
    this.stream = socket
  }

  /** IP address of the client as far as it is known by now; '' for none. */
  get remoteAddress(): string {
    return this.address
  }

  /** Says where the client is. False when too many are there already: the arrival is then refused. */
  locate(address: string): boolean {
    this.address = address
    if (this.owner.isForwarder(address) || this.ticket.claim(address)) return true
    this.refuse('address_limit')
    return false
  }

  /** Closes the socket. */
  refuse(reason: RefusalReason): void {
    if (this.hasEnded) return
    this.end()
    this.owner.refused(this, reason)
    this.socket.destroy()
  }

  /** It speaks MQTT now: what becomes of the socket is its connection's. */
  finish(): void {
    this.end()
  }

  override onTimeout(): void {
    this.refuse('timeout')
  }

  private end(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.owner.ended(this)
  }
}
