/** What both files of access have in common: problems with their lines, and the error that holds them. */

import { NodeError } from '../util/errors.js'

/** One thing that is wrong with a file, said so that it can be mended there. */
export interface FileProblem {
  /** From 1; undefined when it is about the whole file. */
  readonly line: number | undefined
  readonly message: string
}

export interface AccessFileDetails {
  code: 'ACCESS_FILE_INVALID' | 'ACCESS_FILE_UNREADABLE'
  path: string
  problems: readonly string[]
}

/** Problems that an error names; the rest are counted. */
const NAMED_PROBLEMS = 20

/** A users file or an ACL file that cannot be used. */
export class AccessFileError extends NodeError<AccessFileDetails> {
  static invalid(path: string, found: readonly FileProblem[]): AccessFileError {
    const problems = found.slice(0, NAMED_PROBLEMS).map(({ line, message }) => `${originOf(path, line)}: ${message}`)
    if (found.length > NAMED_PROBLEMS) problems.push(`${path}: and ${found.length - NAMED_PROBLEMS} problems more`)
    return new AccessFileError(problems.join('\n'), { code: 'ACCESS_FILE_INVALID', path, problems })
  }

  static unreadable(path: string, cause: unknown): AccessFileError {
    const { code } = cause as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : `the file cannot be read (${code ?? String(cause)})`
    const problems = [`${path}: ${reason}`]
    return new AccessFileError(problems.join('\n'), { code: 'ACCESS_FILE_UNREADABLE', path, problems }, { cause })
  }
}

/** `acl.yaml:12`, as messages and decisions name a place. */
export function originOf(path: string, line: number | undefined): string {
  return line === undefined ? path : `${path}:${line}`
}
