/** Does to a mesh what the schedule says, and puts everything back. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../support/eventually.js'
import type { NodeProcess } from '../../support/node-process.js'
import { assertHealthy, assertNobodyDown, assertViewsDiffer } from './checks.js'
import type { Load } from './load.js'
import type { Network } from './network.js'
import type { Fault } from './schedule.js'

/** A link that flaps is cut and whole by turns of this length. */
const FLAP_MS = 300

export class Nemesis {
  constructor(
    private readonly network: Network,
    private readonly nodes: readonly NodeProcess[],
    private readonly load: Load,
  ) {}

  /** One fault from its beginning to its end: the network is whole then, and every node runs. */
  async strike(fault: Fault): Promise<void> {
    switch (fault.kind) {
      case 'flapping':
        return this.flap(fault)
      case 'kill':
      case 'kill in a split':
        return this.kill(fault)
      case 'freeze':
        return this.freeze(fault)
      default:
        return this.cut(fault)
    }
  }

  private async cut({ kind, rules, lasts }: Fault): Promise<void> {
    const since = Date.now()
    await this.network.set(rules)
    await delay(lasts)
    // Seen from either side, and from a third one.
    if (kind === 'pair') await eventually(() => assertViewsDiffer(this.nodes), { within: 5_000 })
    if (kind === 'slow') assertNobodyDown(this.nodes, since)
    await this.network.set([])
  }

  private async flap({ rules, lasts }: Fault): Promise<void> {
    const end = performance.now() + lasts
    while (performance.now() < end) {
      await this.network.set(rules)
      await delay(FLAP_MS)
      await this.network.set([])
      await delay(FLAP_MS)
    }
  }

  private async kill({ kind, rules, victim, lasts }: Fault): Promise<void> {
    const node = this.node(victim)
    assertHealthy(this.nodes)
    if (kind === 'kill in a split') {
      // What this node acknowledges alone is in its memory alone, and goes with it.
      this.load.mute(node)
      await eventually(() => assert.equal(this.load.isSettled(node), true), { within: 10_000 })
      await this.network.set(rules)
      await delay(lasts)
    }
    this.load.vacate(node)
    await node.kill()
    await delay(lasts)
    await node.start()
    if (rules.length > 0) await delay(lasts)
    await this.network.set([])
    this.load.unmute()
  }

  private async freeze({ victim, lasts }: Fault): Promise<void> {
    const { pid } = this.node(victim)
    process.kill(pid, 'SIGSTOP')
    try {
      await delay(lasts)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
  }

  private node(number: number | undefined): NodeProcess {
    const node = this.nodes[(number ?? 0) - 1]
    if (node === undefined) throw new Error(`there is no node ${number}`)
    return node
  }
}
