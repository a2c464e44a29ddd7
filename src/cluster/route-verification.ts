/** Whether the routes of other nodes are here as those nodes have them, for an operator who asks. */

import type { NodeId } from '../router/route-table.js'
import type { Peer } from './peer.js'

/** One peer that is up. */
export interface RouteVerification {
  node: NodeId
  /** Routes of that node in the route table here. */
  here: number
  /** Routes that the node last said it has. */
  announced: number
  /** The digest that the node sent when it was asked is that of its routes here. */
  inStep: boolean
}

/** A peer that does not answer for so long, in milliseconds, is not in step. */
const ANSWER_TIMEOUT_MS = 2_000

export function verifyRoutes(peers: Iterable<Peer>): Promise<RouteVerification[]> {
  const up = Array.from(peers).filter(({ state }) => state === 'up')
  return Promise.all(up.map(verifyRoutesOf))
}

async function verifyRoutesOf(peer: Peer): Promise<RouteVerification> {
  let timer: NodeJS.Timeout | undefined
  const silence = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ANSWER_TIMEOUT_MS, false)
  })
  const inStep = await Promise.race([peer.exchange.verifyRoutes(), silence])
  clearTimeout(timer)
  return { node: peer.name, here: peer.routes, announced: peer.announcedRoutes, inStep }
}
