/** A text file that is applied again whenever its content has changed. */

import { readFileSync } from 'node:fs'
import { FileWatch } from '../util/file-watch.js'
import { AccessFileError } from './access-file.js'

export interface WatchedFileOptions {
  readonly path: string
  /** Milliseconds between two looks. */
  readonly interval: number
}

export interface WatchedFileModules {
  /** Takes a content; throws AccessFileError to refuse it. Called one after the other. */
  readonly apply: (text: string) => void | Promise<void>
  /** A changed file cannot be read or was refused; told once per change. */
  readonly refuse: (error: unknown) => void
}

export class WatchedFile {
  private readonly watch: FileWatch
  private isRefused = false
  /** Settles when the content that was read last is applied or refused. */
  private applied: Promise<void> = Promise.resolve()

  constructor(
    private readonly options: WatchedFileOptions,
    private readonly modules: WatchedFileModules,
  ) {
    const { path, interval } = options
    const onChange = (): void => {
      this.applied = this.applied.then(() => this.reload())
    }
    this.watch = new FileWatch({ paths: [path], interval }, { onChange, onError: modules.refuse })
  }

  /** Whether an older content is in force than the file has. */
  get isStale(): boolean {
    return this.isRefused
  }

  /**
   * Applies the file, and from then on every change of it.
   * @throws AccessFileError when it cannot be read or is refused; it is watched all the same until `stop`.
   */
  async start(): Promise<void> {
    // Watched before it is read, so that no change in between is missed.
    await this.watch.start()
    await this.modules.apply(readText(this.options.path))
  }

  stop(): void {
    this.watch.stop()
  }

  private async reload(): Promise<void> {
    try {
      await this.modules.apply(readText(this.options.path))
      this.isRefused = false
    } catch (error) {
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
