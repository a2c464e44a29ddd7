/**
 * Topic names that were published to lately, by their bytes. Devices repeat theirs, and whoever speaks for many of them
 * changes between a few thousand: to find a name again is cheaper than to decode and check it, and the text that is
 * found is one and the same, so that tables keyed by it need not hash it anew (bench: load, row h10).
 *
 * Two places per hash, of which the one that was used longer ago is given up. All bytes are in one buffer: small
 * buffers of their own would each keep eight kilobytes alive.
 */

import { decodeTopic } from './publish-header.js'
import { MqttError, ReasonCode } from './reason-codes.js'
import { topicNameProblem } from './topic.js'

/** Names longer than this are decoded each time. With `SLOTS` of them that is 4 MB, of which the system gives what is used. */
const SLOT_BYTES = 128
const SLOTS = 32_768

const NO_SLOT = -1
const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

export class TopicNames {
  private readonly mask: number
  /** Made with the first name: a node without publishers needs none. */
  private bytes: Buffer | undefined
  private readonly lengths: Uint8Array
  private readonly names: string[] = []
  /** Of each pair of slots, which of the two was used last. */
  private readonly latest: Uint8Array

  /** @param slots how many names are remembered, at most; a power of two */
  constructor(private readonly slots = SLOTS) {
    this.mask = slots - 1
    this.lengths = new Uint8Array(slots)
    this.latest = new Uint8Array(slots >> 1)
  }

  /** Whether that slot, as returned by `slotOf`, still has the name in `chunk[start, end)`. */
  isAt(slot: number, chunk: Buffer, start: number, end: number): boolean {
    const { bytes } = this
    if (slot === NO_SLOT || bytes === undefined || this.lengths[slot] !== end - start) return false
    // A loop: for the few bytes of a topic that beats a call into Buffer.compare.
    for (let at = slot * SLOT_BYTES, from = start; from < end; at++, from++) if (bytes[at] !== chunk[from]) return false
    return true
  }

  /** The name in a slot. */
  nameAt(slot: number): string {
    return this.names[slot] as string
  }

  /**
   * Where the name in `chunk[start, end)` is, decoded and checked if it is new; -1 for one that is too long to be
   * remembered.
   * @throws MqttError 0x81, 0x90 when it is no topic name
   */
  slotOf(chunk: Buffer, start: number, end: number): number {
    if (end - start > SLOT_BYTES || end === start) return NO_SLOT
    const first = hashOf(chunk, start, end) & this.mask & ~1
    const pair = first >> 1
    const latest = first + (this.latest[pair] as number)
    if (this.isAt(latest, chunk, start, end)) return latest
    const other = latest ^ 1
    if (!this.isAt(other, chunk, start, end)) {
      this.names[other] = decodeTopicName(chunk, start, end)
      this.bytes ??= Buffer.allocUnsafe(this.slots * SLOT_BYTES)
      chunk.copy(this.bytes, other * SLOT_BYTES, start, end)
      this.lengths[other] = end - start
    }
    this.latest[pair] = other & 1
    return other
  }
}

/** The topic name in `chunk[start, end)`. @throws MqttError 0x81, 0x90 when it is none [MQTT-3.3.2-2] */
export function decodeTopicName(chunk: Buffer, start: number, end: number): string {
  const topic = decodeTopic(chunk, start, end)
  const problem = topicNameProblem(topic)
  if (problem !== undefined) throw new MqttError(ReasonCode.TopicNameInvalid, problem)
  return topic
}

/** FNV-1a. Whoever makes names collide has them decoded each time, as if there were no table. */
function hashOf(chunk: Buffer, start: number, end: number): number {
  let hash = FNV_OFFSET
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ (chunk[at] as number), FNV_PRIME)
  return hash ^ (hash >>> 15)
}
