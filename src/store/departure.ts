/**
 * The mark in the data directory that a node has left its cluster: a restart does not undo what an operator has said.
 */

import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const FILE_NAME = 'left-cluster'

export class Departure {
  private readonly path: string

  /** @param directory of the node's data */
  constructor(private readonly directory: string) {
    this.path = join(directory, FILE_NAME)
  }

  /** @throws Error when the directory cannot be read */
  get isMarked(): boolean {
    return existsSync(this.path)
  }

  /** @throws Error when the directory cannot be written */
  mark(): void {
    mkdirSync(this.directory, { recursive: true })
    writeFileSync(this.path, `${new Date().toISOString()}\n`, { flush: true })
  }

  clear(): void {
    rmSync(this.path, { force: true })
  }
}
