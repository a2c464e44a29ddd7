/**
 * One process per data directory. The lock is a Unix domain socket that somebody listens on: the kernel lets go of it
 * with the process, however that ends, and it tells processes apart that share a directory from different containers,
 * where process ids and files with them in say nothing.
 */

import { closeSync, openSync, renameSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join, resolve } from 'node:path'
import { StoreError, unusable } from './errors.js'

const FILE_NAME = 'lock'

/** The name of a socket has room for about a hundred bytes; directories may be longer. */
const LONGEST_PATH_BYTES = 100

/** A process that listens answers at once, but it may be busy or stopped: then it is there all the same. */
const PROBE_TIMEOUT_MS = 1_000

export class DirectoryLock {
  private constructor(
    private readonly server: Server,
    private readonly path: SocketPath,
  ) {}

  /** @throws StoreError STORE_IN_USE, STORE_UNUSABLE */
  static async take(directory: string): Promise<DirectoryLock> {
    const path = new SocketPath(directory)
    try {
      for (;;) {
        const server = await listen(path.of(FILE_NAME))
        if (server !== undefined) return new DirectoryLock(server, path)
        await removeAbandoned(directory, path)
      }
    } catch (error) {
      path.close()
      if (error instanceof StoreError) throw error
      throw unusable(directory, 'locked', error)
    }
  }

  /** Idempotent. */
  async release(): Promise<void> {
    if (this.server.listening) await new Promise((done) => this.server.close(done))
    this.path.close()
  }
}

/** Where files of a directory are to be found by a short name. */
class SocketPath {
  private descriptor: number | undefined
  private readonly prefix: string

  constructor(directory: string) {
    const whole = resolve(directory)
    const isShort = Buffer.byteLength(join(whole, FILE_NAME)) <= LONGEST_PATH_BYTES
    if (!isShort && process.platform === 'linux') this.descriptor = openSync(whole, 'r')
    this.prefix = this.descriptor === undefined ? whole : `/proc/self/fd/${this.descriptor}`
  }

  of(name: string): string {
    return join(this.prefix, name)
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor)
    this.descriptor = undefined
  }
}

/** Undefined when there is such a socket already. */
function listen(path: string): Promise<Server | undefined> {
  return new Promise((done, fail) => {
    // Whoever asks has its answer with the connection.
    const server = createServer((socket) => socket.destroy())
    server.unref()
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') done(undefined)
      else fail(error)
    })
    server.listen(path, () => done(server))
  })
}

/** Takes away the socket of a process that is no more. @throws StoreError STORE_IN_USE when it is not so */
async function removeAbandoned(directory: string, path: SocketPath): Promise<void> {
  if (await isAnswered(path.of(FILE_NAME))) throw inUse(directory)
  // Between the question and this somebody else may have done the same and be there now: what was taken is asked again.
  const [lock, taken] = [path.of(FILE_NAME), path.of(`${FILE_NAME}.${process.pid}`)]
  try {
    renameSync(lock, taken)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (await isAnswered(taken)) {
    renameSync(taken, lock)
    throw inUse(directory)
  }
  rmSync(taken, { force: true })
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path)
    const finish = (isThere: boolean): void => {
      clearTimeout(timer)
      socket.destroy()
      done(isThere)
    }
    const timer = setTimeout(() => finish(true), PROBE_TIMEOUT_MS)
    socket.once('connect', () => finish(true))
    socket.once('error', (error: NodeJS.ErrnoException) => {
      finish(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT')
    })
  })
}

function inUse(directory: string): StoreError {
  return new StoreError(`data directory ${directory} is used by another process`, { code: 'STORE_IN_USE', directory })
}
