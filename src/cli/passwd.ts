/** `shoalmq passwd add|remove|list`: the users file. */

import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { AccessFileError } from '../access/access-file.js'
import { hashPassword } from '../access/password-hash.js'
import { saslPrep } from '../access/sasl-prep.js'
import { type ScramCredentials, scramCredentials } from '../access/scram.js'
import { parseUsers, type Users, usernameProblem, withoutUser, withUser } from '../access/users-file.js'
import { readText } from '../access/watched-file.js'
import { CliError, EXIT_CODES } from './cli-error.js'
import { readPassword } from './password-input.js'
import { replaceFile } from './replace-file.js'

export interface PasswdAddFlags {
  file: string
  stdin?: true
  /** log2 of scrypt's cost. */
  cost: number
  /** Commander's name for `--no-scram`. */
  scram: boolean
  scramIterations: number
}

const SALT_BYTES = 16

/**
 * Adds a user, or gives one a new password. The file is made when there is none.
 * @throws CliError
 */
export async function addUser(username: string, flags: PasswdAddFlags): Promise<string> {
  const { file, cost, stdin = false } = flags
  checkName(username)
  // Looked at before somebody types a password for nothing.
  if (existsSync(file)) readUsers(file)
  const text = await readPassword({ stdin })
  const password = await hashPassword(Buffer.from(text), cost)
  const scram = flags.scram ? verifierOf(username, text, flags.scramIterations) : undefined
  // Read again: hashing and typing take time, in which another user may have been added.
  const before = existsSync(file) ? readUsers(file) : { text: '', users: new Map() as Users }
  write(file, withUser(before.text, { username, password, scram }))
  const what = before.users.has(username) ? `user ${username} has a new password in` : `user ${username} added to`
  const lacking =
    flags.scram && scram === undefined ? ', without SCRAM: SASLprep does not take the name or password' : ''
  return `${what} ${file}${lacking}`
}

/** @throws CliError when there is no such user. */
export function removeUser(username: string, { file }: { file: string }): string {
  const text = withoutUser(readUsers(file).text, username)
  if (text === undefined) throw new CliError(`there is no user ${username} in ${file}`)
  write(file, text)
  return `user ${username} removed from ${file}`
}

/** The names, one per line, in the order of the file. */
export function listUsers({ file }: { file: string }): string {
  return [...readUsers(file).users.keys()].join('\n')
}

function checkName(username: string): void {
  const problem = usernameProblem(username)
  if (problem !== undefined) throw new CliError(problem, EXIT_CODES.usage)
}

function verifierOf(username: string, password: string, iterations: number): ScramCredentials | undefined {
  // A client prepares its name before it sends it: one that changes would not be found.
  if (saslPrep(username) !== username) return undefined
  return scramCredentials(password, randomBytes(SALT_BYTES), iterations)
}

/** A file with a mistake in it is not written over: the mistake may be somebody's line. */
function readUsers(file: string): { text: string; users: Users } {
  try {
    const text = readText(file)
    return { text, users: parseUsers(text, file) }
  } catch (error) {
    if (error instanceof AccessFileError) throw new CliError(error.message, EXIT_CODES.failure, { cause: error })
    throw error
  }
}

function write(file: string, text: string): void {
  try {
    replaceFile(file, text)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CliError(`${file} cannot be written (${code ?? String(error)})`, EXIT_CODES.failure, { cause: error })
  }
}
