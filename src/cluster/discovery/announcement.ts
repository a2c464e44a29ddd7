/**
 * The datagram with which a node tells a multicast group of itself: five bytes that say what it is, an HMAC-SHA256 with
 * the cluster secret over the rest, and JSON. Everybody on the network can read it, and nobody without the secret make
 * one; one that is recorded and sent again is older than the last of its node.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { isAddress } from '../handshake.js'
import type { DatagramRefusal } from './metrics.js'
import type { Announcement } from './seed-source.js'

/** What an announcement begins with; the last byte is the version of its form. */
const MAGIC = Buffer.from('SHOA\x01', 'latin1')
const PROOF_BYTES = 32
const HEADER_BYTES = MAGIC.length + PROOF_BYTES

/** Fits a datagram that no network splits. */
export const MAXIMUM_ANNOUNCEMENT_BYTES = 1_200

/** Clocks of nodes may differ by this much. */
const MAXIMUM_SKEW_MS = 60_000

const bodySchema = z.object({
  cluster: z.string().min(1).max(64),
  node: z.string().min(1).max(320),
  incarnation: z.int().min(1),
  address: z.string().refine(isAddress),
  /** Milliseconds since the epoch, at the sender. */
  sentAt: z.int().min(1),
})

export type SentAnnouncement = z.output<typeof bodySchema>

export function encodeAnnouncement(
  { node, incarnation, address }: Announcement,
  { cluster, secret }: { cluster: string; secret: string },
  sentAt: number,
): Buffer {
  const body = Buffer.from(JSON.stringify({ cluster, node, incarnation, address, sentAt }))
  return Buffer.concat([MAGIC, prove(secret, body), body])
}

/** What a datagram announces, or why it announces nothing. */
export function decodeAnnouncement(
  datagram: Buffer,
  { cluster, secret }: { cluster: string; secret: string },
  now: number,
): SentAnnouncement | DatagramRefusal {
  if (datagram.length <= HEADER_BYTES || datagram.length > MAXIMUM_ANNOUNCEMENT_BYTES) return 'malformed'
  if (!datagram.subarray(0, MAGIC.length).equals(MAGIC)) return 'malformed'
  const body = datagram.subarray(HEADER_BYTES)
  if (!timingSafeEqual(datagram.subarray(MAGIC.length, HEADER_BYTES), prove(secret, body))) return 'wrong_proof'
  const read = readBody(body)
  if (read === undefined) return 'malformed'
  if (read.cluster !== cluster) return 'other_cluster'
  return Math.abs(read.sentAt - now) > MAXIMUM_SKEW_MS ? 'stale' : read
}

/** The words before the body keep this proof from being good for anything else that the secret proves. */
function prove(secret: string, body: Buffer): Buffer {
  return createHmac('sha256', secret).update('shoalmq announcement\0').update(body).digest()
}

function readBody(body: Buffer): SentAnnouncement | undefined {
  try {
    return bodySchema.safeParse(JSON.parse(body.toString())).data
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
