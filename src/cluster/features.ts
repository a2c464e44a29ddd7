/**
 * What may be said on a link only from a protocol version on. What a peer would skip without harm needs no entry; what
 * it would take for something else, or has to answer, does, and its sender asks here first.
 */

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

/** @param protocol the version that the handshake agreed on */
export function speaks(protocol: number, feature: keyof typeof FEATURES): boolean {
  return protocol >= FEATURES[feature]
}
