/** Limits of connections, for the node as `mqtt.…` and for one listener by the same names. */

import { count } from './option.js'

/** A range that an option takes. */
type Range = readonly [number, number]

/** Of `maximumConnections` and the like. */
export const CONNECTIONS: Range = [0, 10_000_000]
const CONNECTS_PER_SECOND: Range = [0, 1_000_000]

export const connectionLimits = {
  maximumConnectionsPerAddress: count(
    0,
    CONNECTIONS,
    'Connections from one IP address (IPv6: from one /64); further ones are refused. 0 sets no limit: behind one address there may be a whole site.',
  ),
  connectRate: count(0, CONNECTS_PER_SECOND, 'New connections a second; those beyond it are refused. 0 sets no limit.'),
  connectBurst: count(
    0,
    CONNECTS_PER_SECOND,
    'New connections at once, after a rest, that `connectRate` lets through. 0: as many as in one second.',
  ),
}
