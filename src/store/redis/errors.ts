/** What Redis, or the way to it, says; in words of ours, since errors of the client carry commands with their arguments. */

import { asError, NodeError } from '../../util/errors.js'

export interface RedisStoreErrorDetails {
  /**
   * REDIS_UNREACHABLE: no connection, or no answer in time; REDIS_DENIED: user, password or rights; REDIS_REFUSED:
   * whatever else it answered; REDIS_FULL: it has no memory left; STORE_NEWER: written by a later version; STORE_DAMAGED: not
   * what a store looks like;
   * STORE_FENCED: a later life of this node writes there; STORE_ADOPTED: another node has taken this one for dead.
   */
  code:
    | 'REDIS_UNREACHABLE'
    | 'REDIS_DENIED'
    | 'REDIS_REFUSED'
    | 'REDIS_FULL'
    | 'STORE_NEWER'
    | 'STORE_DAMAGED'
    | 'STORE_FENCED'
    | 'STORE_ADOPTED'
  /** Where Redis is, as configured; never with a password. */
  address: string
}

export class RedisStoreError extends NodeError<RedisStoreErrorDetails> {}

/** First words of what Redis answers to one who may not do something. */
const DENIED = /^(WRONGPASS|NOAUTH|NOPERM)\b|invalid password|without any password configured/i

/** An answer of Redis begins with a word in capitals. */
const ANSWER = /^[A-Z]+ |^[A-Z]+$/

/** Of an error of the client; nothing of it but its message goes on. */
export function redisError(address: string, error: unknown): RedisStoreError {
  if (error instanceof RedisStoreError) return error
  const { message } = deepest(asError(error))
  const said = message.trim()
  if (DENIED.test(said))
    return new RedisStoreError(`Redis at ${address} denies access: ${said}`, { code: 'REDIS_DENIED', address })
  if (said.startsWith('OOM '))
    return new RedisStoreError(`Redis at ${address} is full: ${said}`, { code: 'REDIS_FULL', address })
  if (ANSWER.test(said))
    return new RedisStoreError(`Redis at ${address} refuses: ${said}`, { code: 'REDIS_REFUSED', address })
  return unreachable(address, said)
}

/** @param key of the hash that the field is in */
export function damaged(address: string, key: string, field: string, cause: unknown): RedisStoreError {
  return new RedisStoreError(
    `the store in Redis at ${address} is damaged: field ${field} of ${key} cannot be read (${asError(cause).message})`,
    { code: 'STORE_DAMAGED', address },
    { cause },
  )
}

export function unreachable(address: string, why: string): RedisStoreError {
  return new RedisStoreError(`Redis at ${address} cannot be reached: ${why}`, { code: 'REDIS_UNREACHABLE', address })
}

/** A Redis Cluster says only that no node of it can be used; why is the error of the last one. */
function deepest(error: Error & { lastNodeError?: unknown }): Error {
  return error.lastNodeError instanceof Error ? deepest(error.lastNodeError) : error
}
