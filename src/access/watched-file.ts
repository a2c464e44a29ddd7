/**
 * A text file that is read again when it has changed. It asks the path for its state from time to time, which sees a
 * file written in place, one renamed over it, and the symlinks that Kubernetes turns under a mounted Secret; watching
 * an inode misses the last two.
 */

import { type BigIntStats, readFileSync, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { AccessFileError } from './access-file.js'

export interface WatchedFileOptions {
  readonly path: string
  /** Milliseconds between two looks. */
  readonly interval: number
}

export interface WatchedFileModules {
  /** A new content; throws AccessFileError to refuse it. */
  readonly apply: (text: string) => void
  /** A changed file cannot be read or was refused; told once per change. */
  readonly refuse: (error: unknown) => void
}

export class WatchedFile {
  private timer: NodeJS.Timeout | undefined
  /** State of the file that was last applied or refused. */
  private settled = ''
  /** State at the last look: a file is read when it was the same twice, not while it is being written. */
  private seen = ''
  private isLooking = false
  private isRefused = false

  constructor(
    private readonly options: WatchedFileOptions,
    private readonly modules: WatchedFileModules,
  ) {}

  /** Whether an older content is in force than the file has. */
  get isStale(): boolean {
    return this.isRefused
  }

  /**
   * Reads and applies the file for the first time, then keeps looking.
   * @throws AccessFileError when it cannot be read or is refused.
   */
  start(): void {
    const { path, interval } = this.options
    // Before it is read: a change in between shows as one at the first look.
    this.settled = describe(statSync(path, { bigint: true, throwIfNoEntry: false }))
    this.modules.apply(readText(path))
    this.timer = setInterval(() => this.look(), interval)
    this.timer.unref()
  }

  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  private look(): void {
    if (this.isLooking) return
    this.isLooking = true
    this.reload()
      .catch(this.modules.refuse)
      .finally(() => {
        this.isLooking = false
      })
  }

  private async reload(): Promise<void> {
    const state = await stateOf(this.options.path)
    const isQuiet = state === this.seen
    this.seen = state
    if (state === this.settled || !isQuiet || this.timer === undefined) return
    try {
      const text = await readFile(this.options.path, 'utf8').catch((error: unknown) => {
        throw AccessFileError.unreadable(this.options.path, error)
      })
      // Written meanwhile: the next looks will find it quiet.
      if ((await stateOf(this.options.path)) !== state || this.timer === undefined) return
      this.settled = state
      this.modules.apply(text)
      this.isRefused = false
    } catch (error) {
      this.settled = state
      this.isRefused = true
      this.modules.refuse(error)
    }
  }
}

/**
 * The text of a file of access.
 * @throws AccessFileError
 */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw AccessFileError.unreadable(path, error)
  }
}

/** Whatever changes when the file does; an error code when there is none. */
async function stateOf(path: string): Promise<string> {
  try {
    return describe(await stat(path, { bigint: true }))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown'
  }
}

function describe(stats: BigIntStats | undefined): string {
  return stats === undefined ? 'ENOENT' : [stats.dev, stats.ino, stats.size, stats.mtimeNs].join()
}
