/**
 * Whether nodes that cannot be heard give signs of life in the store that all share. A sign is a counter that moves: no clocks
 * are compared, only this node's own observation counts. [docs/decisions/027]
 */

import type { Logger } from 'pino'
import type { SharedStore } from '../../broker/estate-port.js'
import type { NodeId } from '../../router/route-table.js'
import { asError } from '../../util/errors.js'

/** A node that has given no sign for so long, while it was watched, is dead as far as its sessions are concerned. */
export const STANDS_STILL_MS = 3_000
/** Between two looks, in milliseconds. */
const LOOK_INTERVAL_MS = 400
/** Who has not looked for longer has not watched: the store was away, or this node stood still. */
const LONGEST_GAP_MS = 1_500

interface Pulse {
  readonly text: string
  /** Since when it is the same, as far as was watched, and when that was looked at last, as `performance.now` tells. */
  readonly since: number
  readonly seenAt: number
  /** It has changed while it was watched. */
  readonly hasBeaten: boolean
}

export class PulseWatch {
  private pulses = new Map<NodeId, Pulse>()
  private lookedAt = Number.NEGATIVE_INFINITY
  private isLooking = false

  constructor(
    private readonly store: Pick<SharedStore, 'pulse'>,
    private readonly log: Logger,
  ) {}

  /** To be called several times a second; others than these are not watched any more. */
  look(nodes: readonly NodeId[], now: number): void {
    if (this.isLooking || now - this.lookedAt < LOOK_INTERVAL_MS) return
    this.lookedAt = now
    this.isLooking = true
    void this.lookAtAll(nodes)
  }

  /** The pulse of a node that has stood still long enough; undefined of one that has not. */
  stillPulse(node: NodeId, now: number): string | undefined {
    const pulse = this.pulses.get(node)
    const stands = pulse !== undefined && now - pulse.seenAt < LONGEST_GAP_MS && now - pulse.since >= STANDS_STILL_MS
    return stands ? pulse.text : undefined
  }

  /** Whether a node gives signs of life. */
  isBeating(node: NodeId, now: number): boolean {
    return this.pulses.get(node)?.hasBeaten === true && this.stillPulse(node, now) === undefined
  }

  private async lookAtAll(nodes: readonly NodeId[]): Promise<void> {
    const next = new Map<NodeId, Pulse>()
    try {
      await Promise.all(
        nodes.map(async (node) => {
          const text = await this.store.pulse(node)
          next.set(node, this.seen(node, text, performance.now()))
        }),
      )
    } catch (error) {
      this.log.debug({ err: asError(error) }, 'the store does not tell which nodes live')
    }
    this.pulses = next
    this.isLooking = false
  }

  private seen(node: NodeId, text: string, now: number): Pulse {
    const before = this.pulses.get(node)
    const isSame = before?.text === text && now - before.seenAt < LONGEST_GAP_MS
    const hasBeaten = before !== undefined && (before.hasBeaten || before.text !== text)
    return { text, since: isSame ? before.since : now, seenAt: now, hasBeaten }
  }
}
