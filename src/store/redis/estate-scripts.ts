/** The steps by which what a node that is down has left goes to an heir: each is one script, on the slot of that node. */

import { createHash } from 'node:crypto'

export interface Script {
  readonly text: string
  readonly sha: string
}

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/** In place of the token of a life whose sessions have gone to an heir: it writes no more, see `commit-script.ts`. */
export const ADOPTED_TOKEN = 'adopted'

/** KEYS: the state of the node, its estates. Answers schema, incarnation, token, beat; then each estate and its heir. */
export const LOOK = script(`
local state = redis.call('HMGET', KEYS[1], 'schema', 'incarnation', 'token', 'beat')
local answer = {state[1] or '', state[2] or '', state[3] or '', state[4] or ''}
for _, part in ipairs(redis.call('HGETALL', KEYS[2])) do answer[#answer + 1] = part end
return answer
`)

/**
 * A sign of life. KEYS: the state of the node. ARGV: its incarnation and token, the last step that was acknowledged. Answers 1,
 * or 0 when the state is not that of this life: it was taken for dead, another process has its name, or Redis has lost the
 * state, or the last of it, as a replica may have that became the master.
 */
export const BEAT = script(`
local state = redis.call('HMGET', KEYS[1], 'incarnation', 'token', 'step')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] then return 0 end
if tonumber(state[3] or '0') < tonumber(ARGV[3]) then return 0 end
redis.call('HINCRBY', KEYS[1], 'beat', 1)
return 1
`)

/**
 * KEYS: the state of the node, its estates; then each hash and where it goes. ARGV: incarnation and token of the life, the
 * heir, the last beat of the life that was seen. The token is the name of the estate. Answers how many hashes there were, or
 * -1 when the node lives, or another heir was quicker.
 */
export const TAKE = script(`
local state = redis.call('HMGET', KEYS[1], 'incarnation', 'token', 'beat')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] or (state[3] or '') ~= ARGV[4] then return -1 end
local moved = 0
for at = 3, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[at]) == 1 then
    redis.call('RENAME', KEYS[at], KEYS[at + 1])
    moved = moved + 1
  end
end
if moved > 0 then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
redis.call('HSET', KEYS[1], 'token', '${ADOPTED_TOKEN}')
return moved
`)

/**
 * KEYS: the state of a node. ARGV: its incarnation, the token of its next life there. Answers 1, also when it is asked again
 * since the answer was lost, or 0 when it was not taken for dead, or another process has its name.
 */
export const RENEW = script(`
local state = redis.call('HMGET', KEYS[1], 'incarnation', 'token')
if state[1] == ARGV[1] and state[2] == ARGV[2] then return 1 end
if state[1] ~= ARGV[1] or state[2] ~= '${ADOPTED_TOKEN}' then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'step', '0')
return 1
`)

/**
 * KEYS: the state of a node, its estates, the claims in what it has itself, and in the estate. ARGV: the life, whose token is the
 * name of the estate; the receiver, who claims, and up to which hint. Answers the claim that holds, as `receiver 57`, or '' when
 * there is none: a claim stands against one of the other side, and grows with one of the same.
 */
export const CLAIM_DEBTS = script(`
local key
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then key = KEYS[3]
elseif redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then key = KEYS[4]
else return '' end
local field = ARGV[1] .. ' ' .. ARGV[2]
local claim = redis.call('HGET', key, field)
local upTo = tonumber(ARGV[4])
if claim then
  local by, last = string.match(claim, '^(%a+) (%d+)$')
  if by ~= ARGV[3] or tonumber(last) >= upTo then return claim end
elseif upTo == 0 then return '' end
claim = ARGV[3] .. ' ' .. ARGV[4]
redis.call('HSET', key, field, claim)
return claim
`)

/** KEYS: the estates. ARGV: the estate, its heir until now, the next one. Answers 1, or 0 when the heir is another. */
export const PASS_ON = script(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
`)

/** KEYS: the estates, then hashes of one. ARGV: the estate, its heir, fields that are removed. Answers 1, or 0 when the heir is another. */
export const REMOVE = script(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
for key = 2, #KEYS do
  for at = 3, #ARGV do redis.call('HDEL', KEYS[key], ARGV[at]) end
end
return 1
`)

/** KEYS: the estates, then all hashes of one. ARGV: the estate, its heir. Answers 1, or 0 when the heir is another. */
export const CLOSE = script(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
for key = 2, #KEYS do redis.call('UNLINK', KEYS[key]) end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
`)

/**
 * KEYS: a table of the node, its estates. ARGV: the key in the table; what the names of its estates' tables have before and
 * behind the estate. These are in the same slot. Answers 1 when the table has the key, 2 when one of an estate has it, else 0.
 */
export const FIND = script(`
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 1 end
for _, estate in ipairs(redis.call('HKEYS', KEYS[2])) do
  if redis.call('HEXISTS', ARGV[2] .. estate .. ARGV[3], ARGV[1]) == 1 then return 2 end
end
return 0
`)
