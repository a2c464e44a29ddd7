/**
 * What two nodes that are down owe each other. The heir of the one that is owed takes it from what the debtor has kept in the
 * store, before anybody is asked what they owe, and so before anything newer; the heir of the debtor leaves it alone then. Whoever
 * claims it first has it. [docs/decisions/030]
 */

import type { Logger } from 'pino'
import type { KeptPart, SharedStore } from '../../broker/estate-port.js'
import type { NodeId } from '../../router/route-table.js'
import { NodeError } from '../../util/errors.js'
import { type Bequest, lastOf, readBequests } from './bequests.js'

/** What changes hands while it is read is read again, so often at most. */
const READS_MAXIMUM = 10

type Kept = Pick<SharedStore, 'kept'>

/**
 * What a node that cannot be reached has owed the receiver, and nobody else sends on: it is the caller's from here on.
 * @throws Error when the store does not answer
 */
export async function takeDebts(store: Kept, debtor: NodeId, receiver: NodeId, log: Logger): Promise<Bequest[]> {
  const taken: Bequest[] = []
  for (const [part, owed] of await readKept(store, debtor, (part) => readBequests(part, log, receiver))) {
    for (const bequest of owed) {
      const claim = await part.claimDebts(receiver, 'receiver', lastOf(bequest))
      if (claim?.by === 'receiver') taken.push(bequest)
    }
  }
  return taken
}

/** How far a node that is down had come in what another has sent it. @throws Error when the store does not answer */
export async function positionsOf(store: Kept, node: NodeId, sender: NodeId): Promise<Uint8Array | undefined> {
  const found = await readKept(store, node, async (part) => {
    for await (const [name, value] of part.table('received-positions')) if (name === sender) return Buffer.from(value)
    return undefined
  })
  return found.findLast(([, positions]) => positions !== undefined)?.[1]
}

async function readKept<Content>(
  store: Kept,
  node: NodeId,
  read: (part: KeptPart) => Promise<Content>,
): Promise<[KeptPart, Content][]> {
  for (let count = 0; count < READS_MAXIMUM; count += 1) {
    const parts = await store.kept(node)
    const contents: [KeptPart, Content][] = []
    for (const part of parts) contents.push([part, await read(part)])
    if (placesOf(await store.kept(node)) === placesOf(parts)) return contents
  }
  throw new NodeError('what a node that is down has kept does not stay where it is', {
    code: 'ESTATE_MOVES',
    peer: node,
  })
}

function placesOf(parts: readonly KeptPart[]): string {
  return parts.map(({ name, isLeft }) => `${name} ${isLeft}`).join()
}
