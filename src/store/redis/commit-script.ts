/**
 * One step of a commit: a script that Redis runs as a whole, so that who may write and what is written are one. It
 * knows the life of the node that writes by its incarnation, and each step by its number.
 *
 * A step that was given up, on a connection that stood still, may arrive late: its number is lower than one that has
 * been taken since, and it is refused. A number that is lower than one that was acknowledged tells that Redis has lost
 * something, as a replica may have that became the master.
 */

import { createHash } from 'node:crypto'
import type { TakenKeys } from '../commit-queue.js'
import { ADOPTED_TOKEN } from './estate-scripts.js'
import { type NodeKeys, SCHEMA_VERSION } from './keys.js'
import type { RedisPart } from './redis-part.js'
import type { RedisShelf } from './redis-shelf.js'
import type { RedisTable } from './redis-table.js'

/** What one step takes at most: Redis does nothing else meanwhile. */
const LARGEST_STEP_ENTRIES = 10_000
const LARGEST_STEP_BYTES = 4 * 1024 * 1024

/** `unpack` in Lua takes fewer than 8,000 values. */
const LUA_SLICE = 4_000

/**
 * KEYS: the state, then a table or shelf each. ARGV: incarnation, token, schema, number of the step, number of the last one
 * that was acknowledged; then for each of KEYS how many are set and how many removed, the fields and values, the fields.
 */
const TEXT = `
local state = redis.call('HMGET', KEYS[1], 'schema', 'incarnation', 'token', 'step')
if state[1] and state[1] ~= ARGV[3] then return {'schema', state[1]} end
local held, own = tonumber(state[2] or '0'), tonumber(ARGV[1])
if held == own and state[3] == '${ADOPTED_TOKEN}' then return {'adopted', state[2]} end
if held > own or (held == own and state[3] ~= ARGV[2]) then return {'fenced', state[2]} end
local step = held == own and tonumber(state[4]) or 0
if step > tonumber(ARGV[4]) then return {'late', state[4]} end
redis.call('HSET', KEYS[1], 'schema', ARGV[3], 'incarnation', ARGV[1], 'token', ARGV[2], 'step', ARGV[4])
local at = 6
local function each(command, key, count)
  local last = at + count - 1
  while at <= last do
    local stop = math.min(at + ${LUA_SLICE - 1}, last)
    redis.call(command, key, unpack(ARGV, at, stop))
    at = stop + 1
  end
end
for index = 2, #KEYS do
  local set, removed = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  at = at + 2
  each('HSET', KEYS[index], 2 * set)
  each('HDEL', KEYS[index], removed)
end
return {step < tonumber(ARGV[5]) and 'lost' or 'kept', tostring(step)}
`

export const COMMIT_SCRIPT = { text: TEXT, sha: createHash('sha1').update(TEXT).digest('hex') } as const

/**
 * What became of a step. `kept`; `lost`: kept, but Redis has not got what it acknowledged before; `late`: a later step
 * came first; `fenced`: a later life of the node writes there; `adopted`: another node has taken this one for dead, and has
 * its sessions; `schema`: a later version of ours does.
 */
export type StepOutcome = 'kept' | 'lost' | 'late' | 'fenced' | 'adopted' | 'schema'

/** A life of a node, as the script knows it. */
export interface Writer {
  readonly incarnation: number
  /** Tells two processes apart that have one incarnation. */
  readonly token: string
}

export interface StepNumbers {
  /** Higher than that of any step before. */
  readonly step: number
  /** The highest one that was acknowledged. */
  readonly acknowledged: number
}

/** What one step sets and removes. */
export class StepWrites {
  entries = 0
  bytes = 0
  private readonly parts = new Map<RedisPart, { set: (string | Buffer)[]; removed: string[] }>()

  get isFull(): boolean {
    return this.entries >= LARGEST_STEP_ENTRIES || this.bytes >= LARGEST_STEP_BYTES
  }

  add(part: RedisPart, key: string, value: Uint8Array | undefined): void {
    let writes = this.parts.get(part)
    if (writes === undefined) {
      writes = { set: [], removed: [] }
      this.parts.set(part, writes)
    }
    this.entries += 1
    this.bytes += Buffer.byteLength(key) + (value?.length ?? 0)
    if (value === undefined) writes.removed.push(key)
    else
      writes.set.push(key, Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.length))
  }

  keys(names: NodeKeys): string[] {
    return [names.state, ...Array.from(this.parts.keys(), ({ redisKey }) => redisKey)]
  }

  parameters({ incarnation, token }: Writer, { step, acknowledged }: StepNumbers): (string | number | Buffer)[] {
    const parameters: (string | number | Buffer)[] = [incarnation, token, SCHEMA_VERSION, step, acknowledged]
    for (const { set, removed } of this.parts.values()) {
      parameters.push(set.length / 2, removed.length)
      for (const part of set) parameters.push(part)
      for (const key of removed) parameters.push(key)
    }
    return parameters
  }
}

/**
 * The present entries of these keys, in steps; always one at least, which says who writes. The node may end between two of
 * them: so what is put on shelves comes first, then what tells of it, and then what is taken from shelves.
 */
export function* stepsOf(taken: readonly TakenKeys<RedisTable | RedisShelf>[]): Generator<StepWrites> {
  let step = new StepWrites()
  for (const [part, key, value] of inOrder(taken)) {
    if (step.isFull) {
      yield step
      step = new StepWrites()
    }
    step.add(part, String(key), value)
  }
  yield step
}

type Entry = readonly [part: RedisPart, key: string | number, value: Uint8Array | undefined]

function* inOrder(taken: readonly TakenKeys<RedisTable | RedisShelf>[]): Generator<Entry> {
  const removals: Entry[] = []
  // The sort is stable: a table that says which numbers of a shelf were given out stays before that shelf.
  for (const [part, keys] of [...taken].sort(([a], [b]) => Number(a.tellsOfShelves) - Number(b.tellsOfShelves))) {
    for (const key of keys) {
      const value = part.read(key)
      if (value === undefined) removals.push([part, key, value])
      else yield [part, key, value]
    }
  }
  yield* removals
}
