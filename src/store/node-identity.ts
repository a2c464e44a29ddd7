/**
 * What a node keeps about itself in its data directory: whose directory it is, and its last incarnation. A node that
 * starts gets a higher incarnation than in any life before, so that peers can tell its lives apart.
 */

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { asError, NodeError } from '../util/errors.js'

export interface NodeIdentity {
  readonly name: string
  /** Milliseconds since the epoch at the start, or one more than last time, whichever is higher. */
  readonly incarnation: number
}

/** DATA_UNUSABLE: the directory cannot be made, read or written; DATA_FOREIGN: it belongs to another node. */
export interface IdentityDetails {
  code: 'DATA_UNUSABLE' | 'DATA_FOREIGN'
  directory: string
}

/** The data directory cannot serve this node. */
export class IdentityError extends NodeError<IdentityDetails> {}

const FILE_NAME = 'node.json'

/**
 * Opens the identity of a node for a new life, and writes it down before it is used.
 * @throws IdentityError
 */
export function openNodeIdentity(directory: string, name: string): NodeIdentity {
  const last = readIdentity(directory)
  if (last !== undefined && last.name !== name) {
    throw new IdentityError(`data directory ${directory} belongs to node ${last.name}, not to ${name}`, {
      code: 'DATA_FOREIGN',
      directory,
    })
  }
  const identity = { name, incarnation: Math.max(Date.now(), (last?.incarnation ?? 0) + 1) }
  try {
    // Written beside and renamed: a crash leaves the old file or the new one, never half of one.
    const path = join(directory, FILE_NAME)
    writeFileSync(`${path}.new`, `${JSON.stringify(identity)}\n`, { flush: true })
    renameSync(`${path}.new`, path)
  } catch (error) {
    throw unusable(directory, 'written', error)
  }
  return identity
}

function readIdentity(directory: string): NodeIdentity | undefined {
  let text: string
  try {
    makeDirectory(resolve(directory))
    if (!existsSync(join(directory, FILE_NAME))) return undefined
    text = readFileSync(join(directory, FILE_NAME), 'utf8')
  } catch (error) {
    throw unusable(directory, 'opened', error)
  }
  try {
    const { name, incarnation } = JSON.parse(text) as Partial<NodeIdentity>
    if (typeof name === 'string' && Number.isSafeInteger(incarnation))
      return { name, incarnation: incarnation as number }
    throw new TypeError('name or incarnation is missing')
  } catch (error) {
    throw unusable(directory, `understood: ${FILE_NAME} is damaged`, error)
  }
}

/** Level by level: `mkdirSync` with `recursive` never returns below a directory that takes no entries, such as /proc. */
export function makeDirectory(directory: string): void {
  if (existsSync(directory)) return
  makeDirectory(dirname(directory))
  try {
    mkdirSync(directory)
  } catch (error) {
    // Another process may have been quicker.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function unusable(directory: string, how: string, cause: unknown): IdentityError {
  const reason = asError(cause).message
  return new IdentityError(
    `data directory ${directory} cannot be ${how} (${reason})`,
    { code: 'DATA_UNUSABLE', directory },
    { cause },
  )
}
