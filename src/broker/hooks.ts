/**
 * Aedes' hooks as typed questions. A hook that nobody has replaced is not asked at all, so a broker without
 * authorization pays nothing for it on the publish path; a hook may be replaced at any time.
 */

import type { Aedes, ConnectPacket as AedesConnectPacket, AedesPublishPacket, Client, Subscription } from 'aedes'
import type { ConnectPacket } from '../mqtt/wire/packets.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'

type HookName =
  | 'preConnect'
  | 'authenticate'
  | 'authorizePublish'
  | 'authorizeSubscribe'
  | 'authorizeForward'
  | 'published'

/** The hooks as properties of the broker, where Aedes keeps them. */
export type HookOwner = Pick<Aedes, HookName>

/** Topics below this are the broker's own: clients may not publish there. */
const SYSTEM_PREFIX = '$SYS/'

/** MQTT 5 reason codes for the return codes that Aedes' `authenticate` may set on its error. */
const REASON_OF_RETURN_CODE: Record<number, number> = {
  1: ReasonCode.UnsupportedProtocolVersion,
  2: ReasonCode.ClientIdentifierNotValid,
  3: ReasonCode.ServerUnavailable,
  4: ReasonCode.BadUserNameOrPassword,
  5: ReasonCode.NotAuthorized,
}

export class Hooks {
  private readonly defaults: HookOwner

  /** @param owner the broker; @param given the hooks that its options replaced already. */
  constructor(
    private readonly owner: HookOwner,
    private readonly given: Partial<HookOwner>,
  ) {
    const { preConnect, authenticate, authorizePublish, authorizeSubscribe, authorizeForward, published } = owner
    this.defaults = { preConnect, authenticate, authorizePublish, authorizeSubscribe, authorizeForward, published }
  }

  /** Whether a hook is somebody's own and not Aedes' default. */
  has(name: HookName): boolean {
    return this.owner[name] !== this.defaults[name] || this.given[name] !== undefined
  }

  // The three that each PUBLISH asks about, without a look-up by name (bench: load, row a1).

  get isPublishGuarded(): boolean {
    return this.owner.authorizePublish !== this.defaults.authorizePublish || this.given.authorizePublish !== undefined
  }

  get isDeliveryGuarded(): boolean {
    return this.owner.authorizeForward !== this.defaults.authorizeForward || this.given.authorizeForward !== undefined
  }

  get isPublishedAsked(): boolean {
    return this.owner.published !== this.defaults.published || this.given.published !== undefined
  }

  /**
   * preConnect and authenticate, one after the other; `done` gets a reason code, 0 when the client may come in.
   * @param isAuthenticated by enhanced authentication: there is no password to ask about
   */
  admit(
    client: () => Client,
    packet: ConnectPacket,
    isAuthenticated: boolean,
    callback: (reasonCode: number, reason: string) => void,
  ): void {
    const done = once(callback)
    const authenticate = once((): void => {
      if (isAuthenticated || !this.has('authenticate')) return done(ReasonCode.Success, '')
      this.owner.authenticate(client(), packet.username, packet.password, (error, isAdmitted) => {
        if (isError(error)) {
          return done(REASON_OF_RETURN_CODE[error.returnCode] ?? ReasonCode.NotAuthorized, error.message)
        }
        done(isAdmitted ? ReasonCode.Success : ReasonCode.NotAuthorized, 'not authorized')
      })
    })
    if (!this.has('preConnect')) return authenticate()
    this.owner.preConnect(client(), toAedesConnect(packet), (error, isWelcome) => {
      if (!isError(error) && isWelcome) authenticate()
      else done(ReasonCode.NotAuthorized, error?.message ?? 'connection refused')
    })
  }

  /** `done` gets a reason code, 0 when the client may publish this. */
  authorizePublish(client: Client | null, packet: AedesPublishPacket, callback: (reasonCode: number) => void): void {
    const done = once(callback)
    this.owner.authorizePublish(client, packet, (error) => {
      done(isError(error) ? ReasonCode.NotAuthorized : ReasonCode.Success)
    })
  }

  /** `done` gets the subscription to make, perhaps with another QoS, or undefined when it is refused. */
  authorizeSubscribe(
    client: () => Client,
    subscription: Subscription,
    callback: (granted: Subscription | undefined) => void,
  ): void {
    const done = once(callback)
    if (!this.has('authorizeSubscribe')) return done(subscription)
    this.owner.authorizeSubscribe(client(), subscription, (error, granted) => {
      done(isError(error) ? undefined : (granted ?? undefined))
    })
  }
}

/** A hook that calls back twice is heard once: the second call would let go of what the first has let go of already. */
function once<A extends unknown[]>(callback: (...values: A) => void): (...values: A) => void {
  let isCalled = false
  return (...values) => {
    if (isCalled) return
    isCalled = true
    callback(...values)
  }
}

/** Programs call back with undefined as well as with null when all is well. */
function isError<E extends Error>(error: E | null | undefined): error is E {
  return error !== null && error !== undefined
}

/** Aedes' own rule, kept when no hook replaces it. */
export function isReservedTopic(topic: string): boolean {
  return topic.startsWith(SYSTEM_PREFIX)
}

function toAedesConnect(packet: ConnectPacket): AedesConnectPacket {
  const connect: AedesConnectPacket = {
    cmd: 'connect',
    clientId: packet.clientId,
    protocolId: packet.protocolVersion === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: packet.protocolVersion,
    clean: packet.cleanStart,
    keepalive: packet.keepAlive,
  }
  if (packet.username !== undefined) connect.username = packet.username
  if (packet.password !== undefined) connect.password = packet.password
  if (packet.will !== undefined) {
    const { topic, payload, qos, retain } = packet.will
    connect.will = { topic, payload, qos, retain }
  }
  return connect
}
