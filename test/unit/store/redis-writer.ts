import assert from 'node:assert/strict'
import type { OpenTable } from '../../contract/store.js'
import { eventually } from '../../support/eventually.js'

/** The longest that a write may go without an answer: Redis is away, and fails over. */
const ANSWERED = { within: 20_000, every: 1 }

/** Writes, some keys at a time, until told to end; those that were acknowledged, with the last value. */
export class Writer {
  readonly acknowledged = new Map<string, number>()
  refused = 0
  private isRunning = true
  private readonly ended: Promise<void>

  constructor(open: OpenTable) {
    this.ended = this.run(open)
  }

  async stop(): Promise<void> {
    this.isRunning = false
    await this.ended
  }

  private async run(open: OpenTable): Promise<void> {
    for (let value = 1; this.isRunning; value += 1) {
      const keys = Array.from({ length: 20 }, (_, count) => `key ${count}`)
      const holds = keys.map((key) => ({ key, hold: open.set(key, String(value)) }))
      await eventually(
        () =>
          assert.equal(
            holds.find(({ hold }) => !hold.isReleased),
            undefined,
          ),
        ANSWERED,
      )
      for (const { key, hold } of holds) {
        if (hold.isRefused) this.refused += 1
        else this.acknowledged.set(key, value)
      }
    }
  }

  get last(): number {
    return Math.max(0, ...this.acknowledged.values())
  }
}

/** What a later life finds must not be older than what was acknowledged. */
export function assertKept(writer: Writer, { table }: OpenTable): void {
  for (const [key, value] of writer.acknowledged) {
    const found = Number(table.entries.get(key)?.toString() ?? 0)
    assert.ok(found >= value, `${key}: ${value} was acknowledged, ${found} is there`)
  }
}
