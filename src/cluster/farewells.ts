/** The end of all links of a node in good order: what is under way goes first, then each side says farewell. */

import type { Peer } from './peer.js'

/** How long the peers' acknowledgements are waited for, and then their farewells. */
const STEP_TIMEOUT_MS = 1_000

/** How often it looks whether they are there. */
const POLL_MS = 10

/**
 * @param isMember whether this node stays a member: one that only stops is waited for, one that departs forgotten
 * @param isIdle whether nothing else is under way: sessions that follow their clients
 */
export async function endLinks(peers: readonly Peer[], isMember: boolean, isIdle: () => boolean): Promise<void> {
  const deadline = performance.now() + STEP_TIMEOUT_MS
  // What publishers wait for first, and what they were told is kept; then the farewells.
  await until(() => isIdle() && peers.every((peer) => !peer.isLinked || peer.isDrained), deadline)
  const isOwing = isMember && peers.some((peer) => peer.isOwedOnDisk)
  for (const peer of peers) peer.sayFarewell(isMember, isOwing)
  await until(() => peers.every((peer) => !peer.isLinked), deadline + STEP_TIMEOUT_MS)
}

async function until(condition: () => boolean, deadline: number): Promise<void> {
  while (!condition() && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
