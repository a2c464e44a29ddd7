/** From an input that fails to a shorter one that fails too. */

import { encodeVariable } from './packet-model.js'

export interface ShrinkLimits {
  /** How often `fails` may be asked. */
  attempts: number
  /** In milliseconds; the shortest found by then is the answer. */
  within: number
}

/**
 * Takes away what is not needed for as long as `fails` stays true: whole packets first, then runs of their bytes with
 * the Remaining Length made right, then any bytes.
 */
export async function shrink(
  bytes: Buffer,
  fails: (bytes: Buffer) => boolean | Promise<boolean>,
  { attempts, within }: ShrinkLimits,
): Promise<Buffer> {
  const deadline = performance.now() + within
  let left = attempts
  const stillFails = async (candidate: Buffer): Promise<boolean> => {
    if (left <= 0 || performance.now() > deadline || candidate.length === 0) return false
    left -= 1
    return fails(candidate)
  }
  const packets = await shorten(packetsOf(bytes), (some) => stillFails(Buffer.concat(some)))
  for (let index = packets.length - 1; index >= 0; index -= 1) {
    const packet = packets[index] as Buffer
    const withBody = (body: readonly number[]): Buffer[] => packets.with(index, withLength(packet, Buffer.from(body)))
    const body = [...packet.subarray(headerSize(packet))]
    const shorter = await shorten(body, (some) => stillFails(Buffer.concat(withBody(some))))
    if (shorter.length < body.length) packets.splice(0, packets.length, ...withBody(shorter))
  }
  return Buffer.from(await shorten([...Buffer.concat(packets)], (some) => stillFails(Buffer.from(some))))
}

/** Removes runs of items, long ones first, as long as `fails` is true of the rest. */
async function shorten<T>(items: readonly T[], fails: (items: T[]) => Promise<boolean>): Promise<T[]> {
  let shortest = [...items]
  for (let size = Math.ceil(items.length / 2); size >= 1; size = Math.floor(size / 2)) {
    let at = 0
    while (at < shortest.length) {
      const shorter = [...shortest.slice(0, at), ...shortest.slice(at + size)]
      if (await fails(shorter)) shortest = shorter
      else at += size
    }
  }
  return shortest
}

/** Cut where packets end, as far as their lengths can be believed; the rest is the last one. */
function packetsOf(bytes: Buffer): Buffer[] {
  const packets: Buffer[] = []
  let at = 0
  while (at < bytes.length) {
    const rest = bytes.subarray(at)
    const size = Math.min(headerSize(rest) + announced(rest), rest.length)
    packets.push(rest.subarray(0, size))
    at += size
  }
  return packets
}

/** The type and the Remaining Length, as many as there are of its bytes. */
function headerSize(packet: Buffer): number {
  let size = 1
  while (size < Math.min(5, packet.length) && (packet[size] as number) > 0x7f) size += 1
  return Math.min(size + 1, packet.length)
}

function announced(packet: Buffer): number {
  let length = 0
  for (let at = 1; at < headerSize(packet); at += 1) length += ((packet[at] as number) & 0x7f) << (7 * (at - 1))
  return length
}

function withLength(packet: Buffer, body: Buffer): Buffer {
  return Buffer.concat([packet.subarray(0, 1), encodeVariable(body.length), body])
}
