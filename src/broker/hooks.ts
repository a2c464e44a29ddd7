/**
 * Aedes' hooks as typed questions. A hook that nobody has replaced is not asked at all, so a broker without
 * authorization pays nothing for it on the publish path; a hook may be replaced at any time.
 */

import type {
  Aedes,
  ConnectPacket as AedesConnectPacket,
  AedesOptions,
  AedesPublishPacket,
  Client,
  Subscription,
} from 'aedes'
import type { ConnectPacket } from '../mqtt/wire/packets.js'
import { MqttError, ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { AedesClient } from './aedes-client.js'
import { isChanged, toAedesConnect } from './aedes-connect.js'

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

interface Admission {
  isAuthenticated: boolean
  adopt: (before: AedesConnectPacket, left: AedesConnectPacket) => string | undefined
}

export class Hooks {
  private readonly defaults: HookOwner

  /** @param owner the broker; @param given its options, with the hooks that they replaced already. */
  constructor(
    private readonly owner: HookOwner,
    private readonly given: AedesOptions,
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
   * preConnect, which may change the packet, and then authenticate; `done` gets a reason code, 0 when the client may
   * come in.
   * @param isAuthenticated by enhanced authentication: there is no password to ask about
   * @param adopt takes over what preConnect has changed, or says why that cannot be
   */
  admit(
    client: () => AedesClient,
    packet: ConnectPacket,
    { isAuthenticated, adopt }: Admission,
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
    const limit = this.limitProblem(packet)
    if (limit !== undefined) return done(limit.reasonCode, limit.message)
    if (!this.has('preConnect')) return authenticate()
    const stranger = client()
    stranger.isStranger = true
    const shown = toAedesConnect(packet)
    const before = toAedesConnect(packet)
    this.owner.preConnect(
      stranger,
      shown,
      once((error: Error | null, isWelcome: boolean) => {
        if (isError(error) || !isWelcome) return done(ReasonCode.NotAuthorized, error?.message ?? 'connection refused')
        stranger.isStranger = false
        if (isChanged(before, shown)) {
          const problem = adopt(before, shown)
          if (problem !== undefined) return done(ReasonCode.UnspecifiedError, problem)
        }
        authenticate()
      }),
    )
  }

  /** Aedes' own limits on CONNECT, where a program has set them; for clients before MQTT 5, as there. */
  private limitProblem({ protocolVersion, keepAlive, clientId }: ConnectPacket): MqttError | undefined {
    const { keepaliveLimit = 0, maxClientsIdLength } = this.given
    if (protocolVersion < 5 && keepaliveLimit > 0 && (keepAlive === 0 || keepAlive > keepaliveLimit)) {
      return new MqttError(ReasonCode.NotAuthorized, 'keep alive limit exceeded')
    }
    if (protocolVersion === 3 && maxClientsIdLength !== undefined && clientId.length > maxClientsIdLength) {
      return new MqttError(ReasonCode.ClientIdentifierNotValid, 'identifier rejected')
    }
    return undefined
  }

  /** `done` gets the hook's error when the client may not publish this. */
  authorizePublish(client: Client | null, packet: AedesPublishPacket, callback: (error?: Error) => void): void {
    const done = once(callback)
    this.owner.authorizePublish(client, packet, (error) => done(isError(error) ? error : undefined))
  }

  /** `done` gets the hook's error when it could not deal with the message. */
  published(packet: AedesPublishPacket, client: Client | null, callback: (error?: Error) => void): void {
    const done = once(callback)
    // Aedes passes null for the program's own publishes too; its type leaves that out.
    this.owner.published(packet, client as Client, (error) => done(isError(error) ? error : undefined))
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
