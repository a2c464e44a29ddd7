/** Why a node cannot use what it finds in its data directory. */

import { asError, NodeError } from '../util/errors.js'

export interface StoreErrorDetails {
  /**
   * DATA_UNUSABLE: cannot be made, read or written; DATA_IN_USE: by another process; STORE_DAMAGED: not what a store
   * looks like, or cut off; STORE_NEWER, STORE_OLDER: written by a later or earlier version.
   */
  code: 'DATA_UNUSABLE' | 'DATA_IN_USE' | 'STORE_DAMAGED' | 'STORE_NEWER' | 'STORE_OLDER'
  directory: string
}

export class StoreError extends NodeError<StoreErrorDetails> {}

/** For what the operating system or the engine says of a directory. */
export function unusable(directory: string, how: string, cause: unknown): StoreError {
  return new StoreError(
    `data directory ${directory} cannot be ${how} (${asError(cause).message})`,
    { code: 'DATA_UNUSABLE', directory },
    { cause },
  )
}

export function damaged(directory: string, what: string, cause?: unknown): StoreError {
  return new StoreError(
    `the store in ${directory} is damaged: ${what}; restore a backup, or move it away to start without it`,
    { code: 'STORE_DAMAGED', directory },
    cause === undefined ? {} : { cause },
  )
}
