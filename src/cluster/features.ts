/**
 * What may be said on a link only from a protocol version on. What a peer would skip without harm needs no entry; what
 * it would take for something else, or has to answer, does, and its sender asks here first.
 */

import { NodeError } from '../util/errors.js'
import type { LinkBody } from './wire.js'

export const FEATURES = {
  /** `Farewell(DEPARTED)`: to an older peer a node that departs is one that stops. */
  departure: 2,
  /** Entries of batches that are PUBLISH packets of MQTT 3.1.1, and runs of packets: an older peer cannot read them. */
  shortEntries: 2,
  /** `SessionOffer`, and claims that are good only while a certain node holds the client ID. */
  handover: 2,
  /** Wills that one node keeps for another. */
  wills: 2,
} as const satisfies Record<string, number>

/** Messages that came with a feature. */
const FEATURE_OF: Partial<Record<LinkBody['$case'], keyof typeof FEATURES>> = {
  sessionOffer: 'handover',
  sessionDecline: 'handover',
  willCopies: 'wills',
  willsVoid: 'wills',
}

const NEWEST = Math.max(...Object.values(FEATURES))

/**
 * What a peer says has to be of the version that was agreed on: a node of the release before could not read it.
 * @throws NodeError LINK_FOREIGN_MESSAGE
 */
export function assertSpoken(protocol: number, body: LinkBody): void {
  if (protocol >= NEWEST) return
  const isBoundClaim = body.$case === 'directoryClaim' && body.value.onlyFrom !== undefined
  const feature = isBoundClaim ? 'handover' : FEATURE_OF[body.$case]
  if (feature === undefined || speaks(protocol, feature)) return
  throw new NodeError('a message is of a later version than the link', {
    code: 'LINK_FOREIGN_MESSAGE',
    message: body.$case,
    protocol,
  })
}

/** @param protocol the version that the handshake agreed on */
export function speaks(protocol: number, feature: keyof typeof FEATURES): boolean {
  return protocol >= FEATURES[feature]
}
