/**
 * What a node does when Redis has lost something that it had acknowledged: everything that should be there is written
 * again, and what should not be there is removed, a slice with each commit, so that publishers go on beside it.
 */

import type { RedisClient } from './redis-client.js'
import type { RedisPart } from './redis-part.js'

const SLICE = 5_000

export class Restoration {
  private work: AsyncGenerator<void> | undefined
  private parts: readonly RedisPart[] = []

  /** @param within milliseconds for one answer of Redis */
  constructor(
    private readonly client: RedisClient,
    private readonly within: number,
  ) {}

  /** Begins, or begins again when it is under way. */
  begin(parts: Iterable<RedisPart>): void {
    this.parts = [...parts]
    this.work = this.slices()
  }

  /** Marks the next slice for the commits to come; false when there is none. @throws RedisStoreError */
  async advance(): Promise<boolean> {
    const { work } = this
    if (work === undefined) return false
    try {
      if ((await work.next()).done !== true) return true
    } catch (error) {
      this.begin(this.parts)
      throw error
    }
    if (this.work === work) this.work = undefined
    return this.work !== undefined
  }

  private async *slices(): AsyncGenerator<void> {
    for (const part of this.parts) {
      let marked = 0
      for (const field of part.fields()) {
        part.writeAgain(field)
        marked += 1
        if (marked % SLICE === 0) yield
      }
      yield
      yield* this.strays(part)
    }
  }

  /** What was removed here and is there again. */
  private async *strays(part: RedisPart): AsyncGenerator<void> {
    let cursor = '0'
    do {
      const [next, parts] = await this.client.scan(part.redisKey, cursor, SLICE, this.within)
      for (let index = 0; index < parts.length; index += 2) {
        const field = (parts[index] as Buffer).toString()
        if (!part.has(field)) part.writeAgain(field)
      }
      cursor = next
      yield
    } while (cursor !== '0')
  }
}
