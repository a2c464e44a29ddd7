/**
 * The users file: one user per line, `username:$scrypt$…` and perhaps `:SCRAM-SHA-256$…` behind it. Empty lines and
 * lines that begin with `#` say nothing.
 */

import { setImmediate } from 'node:timers/promises'
import { AccessFileError, type FileProblem } from './access-file.js'
import { formatPasswordHash, type PasswordHash, parsePasswordHash } from './password-hash.js'
import type { ScramCredentials } from './scram.js'
import { formatScramCredentials, parseScramCredentials } from './scram-verifier.js'

export interface User {
  readonly username: string
  readonly password: PasswordHash
  readonly scram: ScramCredentials | undefined
}

export type Users = ReadonlyMap<string, User>

/** The longest that a CONNECT can carry. [MQTT 5.0 section 1.5.4] */
const LONGEST_NAME_BYTES = 65_535
const SEPARATOR = ':'

/** Lines read in one turn of `readUsers`: a few milliseconds. */
const LINES_PER_TURN = 500

/**
 * Reads the text of a users file.
 * @throws AccessFileError with all problems and their lines; never with a part of a hash.
 */
export function parseUsers(text: string, path: string): Users {
  const reader = new UsersReader(text, path)
  reader.read(Number.POSITIVE_INFINITY)
  return reader.finish()
}

/**
 * The same, some lines per turn of the event loop: a hundred thousand users take more than half a second.
 * @throws AccessFileError as `parseUsers` does.
 */
export async function readUsers(text: string, path: string): Promise<Users> {
  const reader = new UsersReader(text, path)
  while (reader.read(LINES_PER_TURN)) await setImmediate()
  return reader.finish()
}

class UsersReader {
  private readonly users = new Map<string, User>()
  private readonly linesOf = new Map<string, number>()
  private readonly problems: FileProblem[] = []
  private readonly lines: readonly string[]
  private next = 0

  constructor(
    text: string,
    private readonly path: string,
  ) {
    this.lines = linesIn(text)
  }

  /** Reads so many lines; returns whether there are more. */
  read(count: number): boolean {
    const end = Math.min(this.lines.length, this.next + count)
    while (this.next < end) {
      const content = this.lines[this.next++] as string
      const username = usernameOf(content)
      if (username !== undefined) this.readUser(content, username, this.next)
    }
    return end < this.lines.length
  }

  finish(): Users {
    if (this.problems.length > 0) throw AccessFileError.invalid(this.path, this.problems)
    return this.users
  }

  private readUser(content: string, username: string, line: number): void {
    const user = parseUser(content, username)
    const before = this.linesOf.get(username)
    if (before !== undefined) this.problems.push({ line, message: `user ${username} is in line ${before} already` })
    else if (typeof user === 'string') this.problems.push({ line, message: user })
    else {
      this.users.set(username, user)
      this.linesOf.set(username, line)
    }
  }
}

/** The line of a user, as `parseUsers` reads it. */
export function formatUser({ username, password, scram }: User): string {
  const fields = [username, formatPasswordHash(password)]
  if (scram !== undefined) fields.push(formatScramCredentials(scram))
  return fields.join(SEPARATOR)
}

/** Says what is wrong with a user name for this file, or undefined. */
export function usernameProblem(username: string): string | undefined {
  if (username === '') return 'a user name may not be empty'
  if (username.includes(SEPARATOR)) return 'a user name may not contain a colon, which ends it in the file'
  if (hasControlCharacter(username)) return 'a user name may not contain control characters'
  if (username.startsWith('#')) return 'a user name may not begin with #, which begins a comment in the file'
  if (username.trim() !== username) return 'a user name may not begin or end with white space'
  if (Buffer.byteLength(username) > LONGEST_NAME_BYTES) return `a user name has at most ${LONGEST_NAME_BYTES} bytes`
  return undefined
}

/** The text with a user's line in the place of the one that the user had, or at the end. */
export function withUser(text: string, user: User): string {
  const lines = linesIn(text)
  const at = lines.findIndex((line) => usernameOf(line) === user.username)
  if (at === -1) lines.push(formatUser(user))
  else lines[at] = formatUser(user)
  return `${lines.join('\n')}\n`
}

/** The text without the line of a user; undefined when there is none. */
export function withoutUser(text: string, username: string): string | undefined {
  const lines = linesIn(text)
  const kept = lines.filter((line) => usernameOf(line) !== username)
  if (kept.length === lines.length) return undefined
  return kept.length === 0 ? '' : `${kept.join('\n')}\n`
}

/** True for a character that no terminal shows and no name or password of this file may have. */
function hasControlCharacter(text: string): boolean {
  return /\p{Cc}/u.test(text)
}

function linesIn(text: string): string[] {
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  return lines
}

/** Undefined for a line that says nothing. */
function usernameOf(line: string): string | undefined {
  if (line.startsWith('#') || line.trim() === '') return undefined
  const end = line.indexOf(SEPARATOR)
  return end === -1 ? line : line.slice(0, end)
}

function parseUser(line: string, username: string): User | string {
  const rest = line.slice(username.length + 1)
  if (line.length === username.length) return 'expected username:password-hash, and there is no colon'
  const problem = usernameProblem(username)
  if (problem !== undefined) return problem
  const end = rest.indexOf(SEPARATOR)
  const password = parsePasswordHash(end === -1 ? rest : rest.slice(0, end))
  if (typeof password === 'string') return password
  const scram = end === -1 ? undefined : parseScramCredentials(rest.slice(end + 1))
  if (typeof scram === 'string') return scram
  return { username, password, scram }
}
