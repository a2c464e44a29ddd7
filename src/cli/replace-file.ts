/** Replaces a file in one step: a crash, or a reader at any moment, finds the old content or the new, never half. */

import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** Only the owner reads and writes it. */
const PRIVATE_MODE = 0o600
/** Nobody but owner and group has anything to do with a file of secrets. */
const NOT_FOR_OTHERS = 0o770

/**
 * Writes a file of secrets. A new one is private to its owner; one that is there keeps its owner, its group and what
 * these may do, so that a broker that runs as another user can still read it. A symlink stays one.
 */
export function replaceFile(path: string, content: string): void {
  const target = realPathOf(path)
  const before = statSync(target, { throwIfNoEntry: false })
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.new`)
  try {
    writeTemporary(temporary, content, before)
    renameSync(temporary, target)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
  sync(dirname(target))
}

function writeTemporary(path: string, content: string, before: Stats | undefined): void {
  const file = openSync(path, 'wx', PRIVATE_MODE)
  try {
    writeFileSync(file, content)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  if (before === undefined) return
  const own = statSync(path)
  if (own.uid !== before.uid || own.gid !== before.gid) chownSync(path, before.uid, before.gid)
  chmodSync(path, before.mode & NOT_FOR_OTHERS)
}

/** The renaming itself has to survive a crash too. */
function sync(directory: string): void {
  const handle = openSync(directory, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function realPathOf(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    // A file that is to be made.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return path
    throw error
  }
}
