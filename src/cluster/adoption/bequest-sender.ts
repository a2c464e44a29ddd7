/**
 * Sees to it that everyone gets what a node that is down has owed, for its heir:
 *
 *   the receiver can be reached ─────────────────────────► it is sent
 *   the receiver is down ── its heir takes its sessions ─► that one takes what is owed to them from here, see `joint-debts.ts`
 *                        ├─ it comes back before that ───► it is sent
 *                        └─ neither, for a while ────────► this node owes it from here on, as if it were its own
 *
 * What nobody has taken when the sessions of the receiver have their heir is lost, and counted.
 */

import type { Estate } from '../../broker/estate-port.js'
import type { NodeId } from '../../router/route-table.js'
import { NodeError } from '../../util/errors.js'
import { type Bequest, type BequestShare, lastOf, WHOLE_BEQUEST } from './bequests.js'
import type { AdoptionMetrics } from './metrics.js'

/** How long sessions wait until the receivers' are on their way to an heir, so that what is newer stays behind. In milliseconds. */
const TAKEN_WITHIN_MS = 10_000
/** How long the estate stays for heirs of receivers that are at what they have claimed. In milliseconds. */
const KEPT_WITHIN_MS = 30_000
/** Between two looks, in milliseconds. */
const LOOK_INTERVAL_MS = 100

/**
 * Where what a node has left is: with it; with nobody yet; on its way to an heir, which has taken what others owe it; with that
 * heir; or it is no member any more.
 */
export type Fate = 'here' | 'lost' | 'taken' | 'settled' | 'gone'

export interface BequestSenderModules {
  /** @throws Error when the store does not answer */
  readonly fateOf: (receiver: NodeId) => Promise<Fate>
  /** How far the receiver had come in what the node has sent it. @throws Error when the store does not answer */
  readonly positionsOf: (receiver: NodeId) => Promise<Uint8Array | undefined>
  /** See `sendOn`. */
  readonly sendOn: (bequest: Bequest, positions: Uint8Array | undefined, share: BequestShare) => Promise<number>
  /** Nobody gets what is behind that hint: counts it. */
  readonly giveUp: (bequest: Bequest, positions: Uint8Array | undefined, plainFrom: number) => void
  /** Does a step of this estate unless a try before has done it, see `EstateSteps`. */
  readonly once: (step: string, work: () => Promise<void>) => Promise<void>
  readonly metrics: Pick<AdoptionMetrics, 'sentOn'>
}

export class BequestSender {
  private isStopped = false

  /** @param received what receivers have said themselves */
  constructor(
    private readonly estate: Estate,
    private readonly bequests: readonly Bequest[],
    private readonly received: ReadonlyMap<NodeId, Uint8Array>,
    private readonly modules: BequestSenderModules,
  ) {}

  /**
   * Resolves when everyone has it who can be reached, and what is owed to the others is claimed: by their heirs, or by this one, in
   * whose store it is then as what they are owed.
   * @throws Error when the store does not answer
   */
  async send(): Promise<void> {
    const { fateOf, once } = this.modules
    const absent: Bequest[] = []
    for (const bequest of this.bequests) {
      const { receiver } = bequest
      if ((await fateOf(receiver)) === 'here')
        await once(`all for ${receiver}`, () => this.sendTo(bequest, WHOLE_BEQUEST))
      else {
        const positions = await this.positionsOf(receiver)
        // Before the receiver's heir is done: what that one had got is known until then.
        await once(`groups at ${receiver}`, () => this.sendGroups(bequest, positions))
        absent.push(bequest)
      }
    }
    const deadline = performance.now() + TAKEN_WITHIN_MS
    for (const bequest of absent) {
      await this.waitWhile(bequest.receiver, (fate) => fate === 'lost', deadline)
      await once(`all for ${bequest.receiver}`, () => this.sendTo(bequest, { groups: false, plainFrom: 0 }))
    }
  }

  /** Resolves when the heirs of others have kept what they have claimed: one that dies before leaves it to the next. */
  async whenKept(): Promise<void> {
    const deadline = performance.now() + KEPT_WITHIN_MS
    for (const { receiver } of this.bequests) {
      const claim = await this.estate.claimDebts(receiver, 'debtor', 0)
      if (claim?.by !== 'receiver') continue
      await this.waitWhile(receiver, (fate) => fate === 'lost' || fate === 'taken', deadline)
    }
    if (this.isStopped) throw new NodeError('this node stops', { code: 'STOPPED' })
  }

  stop(): void {
    this.isStopped = true
  }

  /** Save what the heir of the receiver has claimed, or has had. */
  private async sendTo(bequest: Bequest, { groups }: BequestShare): Promise<void> {
    const { metrics, sendOn, giveUp, fateOf } = this.modules
    const { receiver } = bequest
    const claim = await this.estate.claimDebts(receiver, 'debtor', lastOf(bequest))
    const plainFrom = claim?.by === 'receiver' ? claim.upTo : 0
    const fate = await fateOf(receiver)
    const positions = await this.positionsOf(receiver)
    if (fate === 'settled' || fate === 'gone') giveUp(bequest, positions, plainFrom)
    else metrics.sentOn.value += await sendOn(bequest, positions, { groups, plainFrom })
  }

  private async waitWhile(receiver: NodeId, isToWait: (fate: Fate) => boolean, deadline: number): Promise<void> {
    while (isToWait(await this.modules.fateOf(receiver)) && performance.now() < deadline && !this.isStopped)
      await pause()
  }

  private async sendGroups(bequest: Bequest, positions: Uint8Array | undefined): Promise<void> {
    await this.modules.sendOn(bequest, positions, { groups: true, plainFrom: Infinity })
  }

  private async positionsOf(receiver: NodeId): Promise<Uint8Array | undefined> {
    return this.received.get(receiver) ?? (await this.modules.positionsOf(receiver))
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS))
}
