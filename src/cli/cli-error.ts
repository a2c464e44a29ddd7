/** How a command ends. Scripts rely on these numbers; they are listed in `shoalmq --help`. */
export const EXIT_CODES = {
  ok: 0,
  /** The command could not do what it was asked to do; one line on standard error says why. */
  failure: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** `acl check`: the rules say no. */
  denied: 3,
  /** `sub -W`: the time was up, as mosquitto_sub ends. */
  timeout: 27,
} as const

export type ExitCode = (typeof EXIT_CODES)[keyof typeof EXIT_CODES]

/** Ends the command with one line on standard error. */
export class CliError extends Error {
  override readonly name = 'CliError'

  constructor(
    message: string,
    readonly exitCode: ExitCode = EXIT_CODES.failure,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

const NETWORK_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'no route to network',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'the name cannot be resolved now',
  ETIMEDOUT: 'timed out',
}

/** What stands between function and source file in an error of OpenSSL. */
const OPENSSL_ERROR = /:SSL routines:[^:]*:([^:]+):/

/** Why a connection failed, in words; looks into causes and into the errors of several addresses of one name. */
export function networkReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as NodeJS.ErrnoException
  const reason = typeof code === 'string' ? NETWORK_REASONS[code] : undefined
  if (reason !== undefined) return reason
  if (error instanceof AggregateError && error.errors.length > 0) return networkReason(error.errors[0])
  if (error.cause !== undefined) return networkReason(error.cause)
  const tlsReason = OPENSSL_ERROR.exec(error.message)?.[1]
  if (tlsReason !== undefined) return `TLS: ${tlsReason}`
  return error.message === '' ? (code ?? error.name) : error.message
}
