/**
 * The hook of enhanced authentication: an authenticator speaks one Authentication Method, and makes one exchange for
 * each CONNECT and each re-authentication that names it. [MQTT 5.0 section 4.12]
 *
 * ```ts
 * const pin: EnhancedAuthenticator = {
 *   method: 'PIN',
 *   begin: ({ clientId }) => ({
 *     next: (data) =>
 *       data === undefined
 *         ? { continue: Buffer.from('pin?') }
 *         : isPinOf(clientId, data)
 *           ? { done: undefined, username: clientId }
 *           : { refuse: ReasonCode.NotAuthorized, reason: 'wrong PIN' },
 *   }),
 * }
 * const broker = await createBroker({ authenticators: [pin] })
 * ```
 */

export interface EnhancedAuthenticator {
  /** The Authentication Method as clients name it in CONNECT, such as `SCRAM-SHA-256`; compared as it is. */
  readonly method: string
  /** Begins an exchange; it hears nothing more when its connection ends before it. Must not throw. */
  begin(client: AuthenticatingClient): AuthenticationExchange
}

/** Who asks to be authenticated. Nothing of it is proved yet. */
export interface AuthenticatingClient {
  readonly clientId: string
  /** The user name of CONNECT; in a re-authentication the one that was authenticated. */
  readonly username: string | undefined
  readonly remoteAddress: string
  /** Where it came in, such as `mqtt://127.0.0.1:1883`. */
  readonly listener: string
  /** The client is connected already and proves itself again; it stays who it is. */
  readonly isReauthentication: boolean
}

export interface AuthenticationExchange {
  /**
   * Takes the client's Authentication Data, undefined when it sent none, and says what follows. Never called again
   * before its answer is there, nor after an answer that ends the exchange.
   */
  next(data: Buffer | undefined): AuthenticationStep | Promise<AuthenticationStep>
}

export type AuthenticationStep =
  /** More is needed: an AUTH packet with this data goes to the client. */
  | { readonly continue: Buffer | undefined }
  /**
   * The client is who it says; the data goes out in CONNACK, or for a re-authentication in AUTH. With a user name,
   * that is the client's from now on; without one, the user name of CONNECT counts as proved. Who has proved to be
   * another user before, in an exchange or by a certificate, is refused.
   */
  | { readonly done: Buffer | undefined; readonly username?: string }
  /**
   * A reason code of 0x80 or greater for CONNACK, such as `NotAuthorized`; a client that is connected already is
   * disconnected with 0x87 [MQTT-4.12.1-2]. The reason is shown to the client.
   */
  | { readonly refuse: number; readonly reason?: string }
