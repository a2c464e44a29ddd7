/**
 * A store whose disk is a map: it commits at the end of the turn, or, for tests of those who wait for a commit, when it
 * is told to. Held to the contract of stores like any other (`test/contract/store.ts`).
 */

import type {
  Hold,
  Keeping,
  LocalStore,
  ShelfContents,
  StoreShelf,
  StoreTable,
  TableContents,
} from '../../src/broker/store-port.js'
import { NodeError } from '../../src/util/errors.js'

/** What outlives a store: entries by table and key. */
export type MemoryDisk = Map<string, Map<string | number, Buffer>>

interface Contents {
  read(key: string | number): Uint8Array | undefined
  restore(key: string | number, value: Buffer): void
  kept(key: string | number): void
}

interface Part {
  readonly contents: Contents
  readonly disk: Map<string | number, Buffer>
  readonly due: Set<string | number>
}

export class MemoryStore implements LocalStore {
  isFailing = false
  /** Commits when it is told to, and not by itself. */
  isManual = false
  private readonly parts = new Map<string, Part>()
  private waiting: Hold[] = []
  private immediate: NodeJS.Immediate | undefined

  constructor(private readonly disk: MemoryDisk = new Map()) {}

  table(name: string, contents: TableContents): StoreTable {
    const part = this.newPart(name, {
      read: (key) => contents.read(String(key)),
      restore: (key, value) => contents.restore(String(key), value),
      kept: (key) => contents.kept?.(String(key)),
    })
    return { changed: (key, keeping) => this.changed(part, key, keeping) }
  }

  shelf(name: string, contents: ShelfContents): StoreShelf {
    const part = this.newPart(name, {
      read: (key) => contents.read(Number(key)),
      restore: (key, value) => contents.restore(Number(key), value),
      kept: (key) => contents.kept(Number(key)),
    })
    return {
      changed: (number, pending) => this.changed(part, number, pending),
      changedLater: (number) => this.changed(part, number, undefined),
      unchanged: (number) => void part.due.delete(number),
      // Nothing is gained by waiting for a map.
      postpone: ({ number, pending }) => this.changed(part, number, pending),
      hurry: () => undefined,
      settle: () => undefined,
      get: (number) => {
        const value = part.disk.get(number)
        return value === undefined ? undefined : Buffer.from(value)
      },
    }
  }

  /** Entries of a table or shelf on the disk. */
  entries(name: string): number {
    return this.disk.get(name)?.size ?? 0
  }

  async load(): Promise<void> {
    for (const { contents, disk } of this.parts.values()) {
      const keys = [...disk.keys()].sort((a, b) => (typeof a === 'number' ? a - Number(b) : a < String(b) ? -1 : 1))
      for (const key of keys) contents.restore(key, Buffer.from(disk.get(key) ?? ''))
    }
  }

  /** Keeps what is due, at once. */
  commit(): void {
    this.takeSnapshot()()
  }

  /** Takes what is due, as it is now; what is returned ends that commit. */
  takeSnapshot(): () => void {
    const { waiting } = this
    this.waiting = []
    const taken = [...this.parts.values()].map((part) => {
      const values = Array.from(part.due, (key) => [key, part.contents.read(key)] as const)
      part.due.clear()
      return { part, values }
    })
    return () => {
      this.isFailing = false
      for (const { part, values } of taken) {
        for (const [key, value] of values) {
          if (value === undefined) part.disk.delete(key)
          else part.disk.set(key, Buffer.from(value))
        }
      }
      for (const { part, values } of taken) for (const [key] of values) part.contents.kept(key)
      for (const pending of waiting) pending.release()
    }
  }

  /** The commit of what is due fails. */
  fail(): void {
    this.isFailing = true
    for (const part of this.parts.values()) for (const key of part.due) part.contents.read(key)
    for (const pending of this.waiting.splice(0)) {
      if (!('refuse' in pending)) {
        this.waiting.push(pending)
        continue
      }
      const keeping = pending as Keeping
      keeping.refuse()
      keeping.release()
    }
  }

  async stop(): Promise<void> {
    if (this.immediate !== undefined) clearImmediate(this.immediate)
    if (!this.isManual) this.commit()
  }

  private newPart(name: string, contents: Contents): Part {
    if (this.parts.has(name)) throw new NodeError(`there is a table ${name} already`, { code: 'TABLE_EXISTS', name })
    const disk = this.disk.get(name) ?? new Map<string | number, Buffer>()
    this.disk.set(name, disk)
    const part = { contents, disk, due: new Set<string | number>() }
    this.parts.set(name, part)
    return part
  }

  private changed(part: Part, key: string | number, pending: Hold | undefined): void {
    part.due.add(key)
    pending?.hold()
    if (pending !== undefined) this.waiting.push(pending)
    if (this.isManual || this.immediate !== undefined) return
    this.immediate = setImmediate(() => {
      this.immediate = undefined
      this.commit()
    })
  }
}
