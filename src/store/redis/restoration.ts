/**
 * What a node does when Redis has lost something that it had acknowledged: everything that should be there is written
 * again, and what should not be there is removed, a slice with each commit, so that publishers go on beside it.
 */

import type { RedisClient } from './redis-client.js'
import type { RedisTable } from './redis-table.js'

const SLICE = 5_000

export class Restoration {
  private work: AsyncGenerator<void> | undefined
  private tables: readonly RedisTable[] = []

  /** @param within milliseconds for one answer of Redis */
  constructor(
    private readonly client: RedisClient,
    private readonly within: number,
  ) {}

  /** Begins, or begins again when it is under way. */
  begin(tables: Iterable<RedisTable>): void {
    this.tables = [...tables]
    this.work = this.slices()
  }

  /** Marks the next slice for the commits to come; false when there is none. @throws RedisStoreError */
  async advance(): Promise<boolean> {
    const { work } = this
    if (work === undefined) return false
    try {
      if ((await work.next()).done !== true) return true
    } catch (error) {
      this.begin(this.tables)
      throw error
    }
    if (this.work === work) this.work = undefined
    return this.work !== undefined
  }

  private async *slices(): AsyncGenerator<void> {
    for (const table of this.tables) {
      let marked = 0
      for (const key of table.keys()) {
        table.changed(key, undefined)
        marked += 1
        if (marked % SLICE === 0) yield
      }
      yield
      yield* this.strays(table)
    }
  }

  /** What was removed here and is there again. */
  private async *strays(table: RedisTable): AsyncGenerator<void> {
    let cursor = '0'
    do {
      const [next, parts] = await this.client.scan(table.redisKey, cursor, SLICE, this.within)
      for (let index = 0; index < parts.length; index += 2) {
        const key = (parts[index] as Buffer).toString()
        if (table.read(key) === undefined) table.changed(key, undefined)
      }
      cursor = next
      yield
    } while (cursor !== '0')
  }
}
