/** Errors that operators read: a sentence, a code that scripts can rely on, and typed facts about what went wrong. */

/** What every error carries: a code in capitals, and whatever else tells this case from its siblings. */
export interface ErrorDetails {
  code: string
}

/**
 * A failure of the node, not of a client: `new NodeError('the port is taken', { code: 'PORT_TAKEN', port: 1883 })`.
 * Details are logged as they are: no secrets, no payloads.
 */
export class NodeError<D extends ErrorDetails = ErrorDetails> extends Error {
  override readonly name = 'NodeError'
  readonly details: Readonly<D>

  constructor(message: string, details: D, options?: ErrorOptions) {
    super(message, options)
    this.details = details
  }

  get code(): D['code'] {
    return this.details.code
  }
}

/** What was thrown, as an Error: anything can be thrown in JavaScript, but logs and callers want a stack and a message. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown })
}
