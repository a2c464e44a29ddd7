/** Does to a mesh what the schedule says, and puts everything back. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../support/eventually.js'
import type { LogLine, NodeProcess } from '../../support/node-process.js'
import { assertHealthy, assertNobodyDown, assertViewsDiffer } from './checks.js'
import type { WireRule } from './network.js'
import type { Fault, MeshFaultKind } from './schedule.js'

/** A link that flaps is cut and whole by turns of this length. */
const FLAP_MS = 300

/** All nodes have noticed a cut by then (`cluster.downAfter`). */
const NOTICED_AFTER_MS = 5_500

/** How long sessions move on each side of a split. */
const MOVING_MS = 4_000

/** What stands between the nodes. */
export interface Wires {
  /** Replaces all rules; takes effect at once. */
  set(rules: readonly WireRule[]): Promise<void>
}

/** Those who live with the faults. */
export interface Bystanders {
  /** What is published at this node from now on is kept by nobody else: its publishers say nothing until `unmute`. */
  mute(node: NodeProcess): void
  unmute(): void
  /** Whether its publishers wait for no acknowledgement. */
  isSettled(node: NodeProcess): boolean
  /** Nodes are cut off from each other so, and know it: who moves does so on its side. Without rules nobody moves. */
  divide(rules: readonly WireRule[]): void
  /** The node ends now. */
  vacate(node: NodeProcess, how: 'killed' | 'drained'): void
}

export class Nemesis {
  constructor(
    private readonly network: Wires,
    private readonly nodes: readonly NodeProcess[],
    private readonly load: Bystanders,
    /** Whether an error in a node's log is one that a fault before has made. */
    private readonly isExpected: (line: LogLine) => boolean = () => false,
  ) {}

  /** One fault from its beginning to its end: the network is whole then, and every node runs. */
  async strike(fault: Fault<MeshFaultKind>): Promise<void> {
    switch (fault.kind) {
      case 'flapping':
        return this.flap(fault)
      case 'kill':
      case 'kill in a split':
        return this.kill(fault)
      case 'kill behind a cut':
        return this.killBehindCut(fault)
      case 'drain':
        return this.drain(fault)
      case 'freeze':
        return this.freeze(fault)
      default:
        return this.cut(fault)
    }
  }

  private async cut({ kind, rules, lasts }: Fault): Promise<void> {
    const since = Date.now()
    await this.network.set(rules)
    if ((kind === 'halves' || kind === 'alone') && lasts > NOTICED_AFTER_MS) {
      await delay(NOTICED_AFTER_MS)
      this.load.divide(rules)
      await delay(MOVING_MS)
      this.load.divide([])
    }
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
    assertHealthy(this.nodes, this.isExpected)
    if (kind === 'kill in a split') {
      // What this node acknowledges alone is in its memory alone, and goes with it.
      this.load.mute(node)
      await eventually(() => assert.equal(this.load.isSettled(node), true), { within: 10_000 })
      await this.network.set(rules)
      await delay(lasts)
    }
    this.load.vacate(node, 'killed')
    await node.kill()
    await delay(lasts)
    await node.start()
    if (rules.length > 0) await delay(lasts)
    await this.network.set([])
    this.load.unmute()
  }

  private async killBehindCut({ rules, victim, lasts }: Fault): Promise<void> {
    const node = this.node(victim)
    await this.network.set(rules)
    await delay(lasts)
    this.load.vacate(node, 'killed')
    await node.kill()
    await this.network.set([])
    await delay(lasts)
    await node.start()
  }

  private async drain({ victim, lasts }: Fault): Promise<void> {
    const node = this.node(victim)
    this.load.vacate(node, 'drained')
    assert.deepEqual(await node.stop(), { code: 0, signal: null }, `${node.name} ends by SIGTERM`)
    await delay(lasts)
    await node.start()
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
