/** What a node that is down has left in Redis, as its heir reads and removes it; and how it becomes the heir. */

import {
  type DebtClaim,
  type DebtCollector,
  ESTATE_SHELVES,
  ESTATE_TABLES,
  type Estate,
  type Inheritance,
  type KeptPart,
  type NodeLife,
} from '../../broker/estate-port.js'
import { RedisStoreError } from './errors.js'
import {
  ADOPTED_TOKEN,
  BEAT,
  CLAIM_DEBTS,
  CLOSE,
  FIND,
  LOOK,
  PASS_ON,
  REMOVE,
  type Script,
  TAKE,
} from './estate-scripts.js'
import { type NodeKeys, SCHEMA_VERSION } from './keys.js'
import type { RedisClient } from './redis-client.js'

/** Entries that are asked for at a time. */
const SCAN_SLICE = 1_000

/** How long a node that starts waits for those who adopt what it has left, and how often it looks, in milliseconds. */
const ADOPTED_WITHIN_MS = 10_000
const ADOPTED_LOOK_MS = 100

/** Fields that one step removes at most. */
const REMOVE_SLICE = 1_000

export interface EstateOffice {
  readonly client: RedisClient
  /** The keys of a node. */
  readonly keysOf: (node: string) => NodeKeys
  /** Who inherits: this life of this node. */
  readonly heir: () => NodeLife
  /** Milliseconds for one answer of Redis. */
  readonly within: number
  /** Replicas that must have a step, as `store.redis.waitReplicas`. */
  readonly replicas: number
}

/** What is in the state of a node, and its estates with their heirs. */
interface Place {
  readonly schema: string
  readonly incarnation: number
  readonly token: string
  /** How often that life has given a sign of itself. */
  readonly beat: string
  readonly estates: readonly (readonly [name: string, heir: string])[]
}

/** See `SharedStore.inherit`. @throws RedisStoreError */
export async function inherit(
  office: EstateOffice,
  { node, incarnation }: NodeLife,
  isGone: (heir: NodeLife) => boolean,
  pulse: string,
): Promise<Inheritance> {
  const keys = office.keysOf(node)
  const heir = nameOf(office.heir())
  const place = await lookAt(office, keys)
  const estates: Estate[] = []
  let hasMore = false
  for (const [name, holder] of place.estates) {
    if (holder !== heir) {
      const isLeft = isGone(lifeOf(holder)) && (await isSettled(office, lifeOf(holder)))
      if (!isLeft || Number(await run(office, PASS_ON, [keys.estates], [name, holder, heir])) !== 1) {
        hasMore = true
        continue
      }
    }
    estates.push(new RedisEstate(office, node, keys, name, heir))
  }
  const { token, beat } = place
  // A later life than was heard of may have come and gone, too: it had everything.
  const last = Math.max(incarnation, place.incarnation)
  const isThere = place.incarnation > 0 && token !== ADOPTED_TOKEN
  if (!isThere || node === office.heir().node) return { estates, hasMore, last }
  if (pulseOf(place) !== pulse) return { estates, hasMore: true, last }
  if (place.schema !== String(SCHEMA_VERSION)) {
    const { address } = office.client
    throw new RedisStoreError(`the store of ${node} in Redis at ${address} has version ${place.schema}`, {
      code: 'STORE_NEWER',
      address,
    })
  }
  const moves = pairsOf(keys, keys.estate(token))
  const parameters = [String(place.incarnation), token, heir, beat]
  const taken = Number(await run(office, TAKE, [keys.state, keys.estates, ...moves], parameters))
  if (taken > 0) estates.push(new RedisEstate(office, node, keys, token, heir))
  return { estates, hasMore: hasMore || taken < 0, last }
}

/** See `SharedStore.pulse`. @throws RedisStoreError */
export async function pulse(office: EstateOffice, node: string): Promise<string> {
  return pulseOf(await lookAt(office, office.keysOf(node)))
}

/** See `SharedStore.beat`. @throws RedisStoreError */
export async function beat(
  office: EstateOffice,
  node: string,
  life: { token: string; step: number },
): Promise<boolean> {
  const { incarnation } = office.heir()
  const { client, within } = office
  const parameters = [String(incarnation), life.token, String(life.step)]
  return Number(await client.run(BEAT, [office.keysOf(node).state], parameters, { within, replicas: 0 })) === 1
}

/** See `SharedStore.isSettled`: another has it all, or a later life. @throws RedisStoreError */
export async function isSettled(office: EstateOffice, { node, incarnation }: NodeLife): Promise<boolean> {
  const place = await lookAt(office, office.keysOf(node))
  const isOthers = place.incarnation === 0 || place.incarnation > incarnation || place.token === ADOPTED_TOKEN
  return isOthers && place.estates.length === 0
}

async function lookAt(office: EstateOffice, keys: NodeKeys): Promise<Place> {
  const answer = (await run(office, LOOK, [keys.state, keys.estates], [])) as string[]
  const [schema = '', incarnation = '', token = '', beat = '', ...rest] = answer
  const estates = Array.from({ length: rest.length / 2 }, (_, index): readonly [string, string] => [
    rest[2 * index] ?? '',
    rest[2 * index + 1] ?? '',
  ])
  return { schema, incarnation: Number(incarnation), token, beat, estates }
}

/** Differs after each beat, and in each life. */
function pulseOf({ incarnation, token, beat }: Place): string {
  return `${incarnation} ${token} ${beat}`
}

/**
 * Waits until others have adopted what lives of this node before have left: what peers owe it has then gone to them. Not for
 * heirs that do not come to an end, nor for estates of which this node is the heir itself.
 * @throws RedisStoreError
 */
export async function whenAdopted(office: EstateOffice, node: string): Promise<void> {
  const deadline = performance.now() + ADOPTED_WITHIN_MS
  const keys = office.keysOf(node)
  for (;;) {
    const { estates } = await lookAt(office, keys)
    if (estates.every(([, heir]) => lifeOf(heir).node === node) || performance.now() > deadline) return
    await new Promise((resolve) => setTimeout(resolve, ADOPTED_LOOK_MS))
  }
}

/** See `SharedStore.findSession`. @throws RedisStoreError */
export async function findSession(
  office: EstateOffice,
  node: string,
  clientId: string,
): Promise<'kept' | 'left' | undefined> {
  const keys = office.keysOf(node)
  const [before = '', behind = ''] = keys.estate('\0').table('sessions').split('\0')
  const found = await run(office, FIND, [keys.table('sessions'), keys.estates], [clientId, before, behind])
  return ([undefined, 'kept', 'left'] as const)[Number(found)]
}

/** See `SharedStore.kept`. @throws RedisStoreError */
export async function kept(office: EstateOffice, node: string): Promise<KeptPart[]> {
  const keys = office.keysOf(node)
  const { token, estates } = await lookAt(office, keys)
  const parts = estates.map(([name]) => new RedisKeptPart(office, node, keys, name, true))
  if (token !== '' && token !== ADOPTED_TOKEN) parts.push(new RedisKeptPart(office, node, keys, token, false))
  return parts
}

class RedisKeptPart implements KeptPart {
  protected readonly keys: NodeKeys

  constructor(
    protected readonly office: EstateOffice,
    readonly node: string,
    protected readonly nodeKeys: NodeKeys,
    readonly name: string,
    readonly isLeft: boolean,
  ) {
    this.keys = isLeft ? nodeKeys.estate(name) : nodeKeys
  }

  table(name: string): AsyncGenerator<readonly [key: string, value: Buffer]> {
    return this.entries(this.keys.table(name))
  }

  async *shelf(name: string): AsyncGenerator<readonly [number: number, value: Buffer]> {
    for await (const [field, value] of this.entries(this.keys.shelf(name))) yield [Number(field), value]
  }

  async claimDebts(receiver: string, by: DebtCollector, upTo: number): Promise<DebtClaim | undefined> {
    const { office, nodeKeys, name } = this
    const claims = [nodeKeys, nodeKeys.estate(name)].map((keys) => keys.table('debt-claims'))
    const parameters = [name, receiver, by, String(upTo)]
    const claim = String(await run(office, CLAIM_DEBTS, [nodeKeys.state, nodeKeys.estates, ...claims], parameters))
    const [holder, last] = claim.split(' ')
    return holder === 'debtor' || holder === 'receiver' ? { by: holder, upTo: Number(last) } : undefined
  }

  private async *entries(key: string): AsyncGenerator<readonly [string, Buffer]> {
    // A hash that is scanned may show an entry twice.
    const seen = new Set<string>()
    let cursor = '0'
    do {
      const [next, parts] = await this.office.client.scan(key, cursor, SCAN_SLICE, this.office.within)
      for (let index = 0; index + 1 < parts.length; index += 2) {
        const field = (parts[index] as Buffer).toString()
        if (seen.has(field)) continue
        seen.add(field)
        yield [field, parts[index + 1] as Buffer]
      }
      cursor = next
    } while (cursor !== '0')
  }
}

class RedisEstate extends RedisKeptPart implements Estate {
  constructor(
    office: EstateOffice,
    node: string,
    nodeKeys: NodeKeys,
    name: string,
    private readonly heir: string,
  ) {
    super(office, node, nodeKeys, name, true)
  }

  async remove(clientIds: readonly string[]): Promise<boolean> {
    const { office, keys, name, heir } = this
    const tables = [keys.table('sessions'), keys.table('session-progress')]
    for (let at = 0; at < clientIds.length; at += REMOVE_SLICE) {
      const fields = clientIds.slice(at, at + REMOVE_SLICE)
      const removed = await run(office, REMOVE, [this.nodeKeys.estates, ...tables], [name, heir, ...fields])
      if (Number(removed) !== 1) return false
    }
    return true
  }

  async close(): Promise<void> {
    const { office, name, heir } = this
    await run(office, CLOSE, [this.nodeKeys.estates, ...hashesOf(this.keys)], [name, heir])
  }
}

function run(
  { client, within, replicas }: EstateOffice,
  script: Script,
  keys: readonly string[],
  parameters: readonly string[],
): Promise<unknown> {
  const isWrite = script !== LOOK && script !== FIND
  return client.run(script, keys, parameters, { within, replicas: isWrite ? replicas : 0 })
}

function hashesOf(keys: NodeKeys): string[] {
  return [...ESTATE_TABLES.map((name) => keys.table(name)), ...ESTATE_SHELVES.map((name) => keys.shelf(name))]
}

function pairsOf(from: NodeKeys, to: NodeKeys): string[] {
  const targets = hashesOf(to)
  return hashesOf(from).flatMap((source, index) => [source, targets[index] as string])
}

/** As the hash of estates has it: `n1@10.0.0.1 1732000000000`. */
function nameOf({ node, incarnation }: NodeLife): string {
  return `${node} ${incarnation}`
}

function lifeOf(name: string): NodeLife {
  const at = name.lastIndexOf(' ')
  return { node: name.slice(0, at), incarnation: Number(name.slice(at + 1)) }
}
