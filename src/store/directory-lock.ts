/**
 * One process per data directory. The lock is a Unix domain socket that somebody listens on: the kernel lets go of it
 * with the process, however that ends, and it tells processes apart that share a directory from different containers,
 * where process ids say nothing. The sockets are numbered, the highest one counts, and one that nobody listens on any
 * more is never used again: so two that find it abandoned at once meet at the next number, where one of them wins.
 */

import { closeSync, openSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { StoreError, unusable } from './errors.js'
import { makeDirectory } from './node-identity.js'

const NAME = /^lock\.(\d{1,15})$/

/** The name of a socket has room for about a hundred bytes; directories may be longer. */
const LONGEST_PATH_BYTES = 100

/** A process that listens answers at once, but it may be busy or stopped: then it is there all the same. */
const PROBE_TIMEOUT_MS = 1_000

/** A socket has its name a moment before it listens. */
const SECOND_LOOK_MS = 20

export class DirectoryLock {
  private constructor(
    private readonly server: Server,
    private readonly names: SocketNames,
  ) {}

  /** Makes the directory where there is none. @throws StoreError DATA_IN_USE, DATA_UNUSABLE */
  static async take(directory: string): Promise<DirectoryLock> {
    const names = namesIn(directory)
    try {
      for (;;) {
        const highest = names.present().at(-1) ?? 0
        if (await isHeld(names, highest)) throw inUse(directory)
        const server = await listen(names.path(highest + 1))
        if (server === undefined) continue
        const lock = new DirectoryLock(server, names)
        if (await lock.isFirst(highest + 1)) return lock
        await lock.release()
        throw inUse(directory)
      }
    } catch (error) {
      names.close()
      throw error instanceof StoreError ? error : unusable(directory, 'locked', error)
    }
  }

  /** Idempotent. */
  async release(): Promise<void> {
    if (this.server.listening) await new Promise((done) => this.server.close(done))
    this.names.close()
  }

  /** Nobody has a higher number, as after a long pause between the look and the lock; lower ones are removed. */
  private async isFirst(own: number): Promise<boolean> {
    for (const number of this.names.present()) {
      if (number > own && (await isHeld(this.names, number))) return false
      if (number < own) this.names.remove(number)
    }
    return true
  }
}

/** The sockets of a directory, by short paths. */
class SocketNames {
  private descriptor: number | undefined
  private readonly prefix: string

  constructor(private readonly directory: string) {
    const isShort = Buffer.byteLength(directory) <= LONGEST_PATH_BYTES - '/lock.000000'.length
    if (!isShort && process.platform === 'linux') this.descriptor = openSync(directory, 'r')
    this.prefix = this.descriptor === undefined ? directory : `/proc/self/fd/${this.descriptor}`
  }

  path(number: number): string {
    return join(this.prefix, `lock.${number}`)
  }

  /** Their numbers, lowest first. */
  present(): number[] {
    return readdirSync(this.directory)
      .flatMap((name) => NAME.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b)
  }

  remove(number: number): void {
    rmSync(this.path(number), { force: true })
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor)
    this.descriptor = undefined
  }
}

function namesIn(directory: string): SocketNames {
  try {
    const whole = resolve(directory)
    makeDirectory(whole)
    return new SocketNames(whole)
  } catch (error) {
    throw unusable(directory, 'opened', error)
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

async function isHeld(names: SocketNames, number: number): Promise<boolean> {
  if (number === 0) return false
  if (await isAnswered(names.path(number))) return true
  await delay(SECOND_LOOK_MS)
  return isAnswered(names.path(number))
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
    socket.once('error', ({ code }: NodeJS.ErrnoException) => finish(code !== 'ECONNREFUSED' && code !== 'ENOENT'))
  })
}

function inUse(directory: string): StoreError {
  return new StoreError(`data directory ${directory} is used by another process`, { code: 'DATA_IN_USE', directory })
}
