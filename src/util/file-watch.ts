/**
 * Tells when the content of files has changed. It looks at them every few seconds rather than asking the system to
 * tell: what Kubernetes mounts from a Secret changes by a symlink of the directory above being swapped, editors and
 * `install` replace files, and network file systems tell nothing, while a look at a handful of files costs nothing.
 * A change of inode, size or time is a reason to read, when two looks have found the same: somebody may be writing
 * still. Only other bytes are a change.
 */

import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { asError } from './errors.js'

export interface FileWatchOptions {
  readonly paths: readonly string[]
  /** Milliseconds between two looks. */
  readonly interval: number
}

export interface FileWatchModules {
  /** Called after a change, of one file or of several at once; also when a file has gone or can be read again. */
  readonly onChange: () => void
  /** Gets what `onChange` threw; the watch goes on. */
  readonly onError: (error: Error) => void
}

export class FileWatch {
  private readonly paths: readonly string[]
  private readonly marks = new Map<string, string>()
  /** Marks found by the last look, where they are not those of `contents`. */
  private readonly unsettled = new Map<string, string>()
  private readonly contents = new Map<string, string>()
  private timer: NodeJS.Timeout | undefined
  private isStopped = true

  constructor(
    private readonly options: FileWatchOptions,
    private readonly modules: FileWatchModules,
  ) {
    this.paths = [...new Set(options.paths)]
  }

  /** Takes what the files hold now as known, and watches from then on; resolves when it does. */
  async start(): Promise<void> {
    this.isStopped = false
    await this.look(true)
    this.schedule()
  }

  stop(): void {
    this.isStopped = true
    clearTimeout(this.timer)
  }

  private schedule(): void {
    if (this.isStopped) return
    this.timer = setTimeout(() => {
      this.check().then(
        () => this.schedule(),
        (error: unknown) => {
          this.modules.onError(asError(error))
          this.schedule()
        },
      )
    }, this.options.interval)
    this.timer.unref()
  }

  private async check(): Promise<void> {
    const hasChanged = await this.look(false)
    if (hasChanged && !this.isStopped) this.modules.onChange()
  }

  private async look(isFirst: boolean): Promise<boolean> {
    let hasChanged = false
    for (const path of this.paths) {
      const mark = await markOf(path)
      if (this.marks.get(path) === mark) continue
      if (!isFirst && this.unsettled.get(path) !== mark) {
        this.unsettled.set(path, mark)
        continue
      }
      const content = await contentOf(path)
      this.marks.set(path, mark)
      if (this.contents.get(path) === content) continue
      this.contents.set(path, content)
      hasChanged = true
    }
    return hasChanged
  }
}

/** What changes with any write or replacement; of a file that is not there, why. */
async function markOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
    return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
  } catch (error) {
    return codeOf(error)
  }
}

async function contentOf(path: string): Promise<string> {
  try {
    return createHash('sha256')
      .update(await readFile(path))
      .digest('base64')
  } catch (error) {
    return codeOf(error)
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}
