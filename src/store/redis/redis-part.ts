/**
 * A table or a shelf of the store in Redis: a hash, whose fields are the keys of the table or the numbers of the shelf.
 * What the commit script, the load at the start and a restoration ask of either.
 */

export interface RedisPart {
  /** Of the hash. */
  readonly redisKey: string
  /** See `TableContents.tellsOfShelves`. */
  readonly tellsOfShelves: boolean
  /** What the commit that is on its way writes under this key; undefined removes it. */
  read(key: string | number): Uint8Array | undefined
  /** An entry that is in Redis while the store is loaded, each once. */
  restore(field: string, value: Buffer): void
  /** All entries are there: gives on what had to wait for that, one with each step. */
  restored(): Iterable<void>
  /** Every field that Redis ought to have, as far as is known here. */
  fields(): Iterable<string>
  /** Whether Redis ought to have this field. */
  has(field: string): boolean
  /** Redis has lost this field, or has one that it ought not to have: a commit sees to it. */
  writeAgain(field: string): void
}
