/** Does to a cluster what the schedule says, and puts everything back: what concerns one node or a link as in a mesh. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../support/eventually.js'
import type { LogLine, NodeProcess } from '../../support/node-process.js'
import { assertHealthy, assertLinked } from '../mesh/checks.js'
import { Nemesis } from '../mesh/nemesis.js'
import type { Fault, GroundFaultKind, MeshFaultKind } from '../mesh/schedule.js'
import { GROUND_FAULT_KINDS } from '../mesh/schedule.js'
import type { Arena } from './arena.js'
import type { HistoryLoad } from './load.js'

const LINKED_WITHIN_MS = 30_000
/** Sessions on their way have arrived by then. */
const SETTLED_WITHIN_MS = 20_000

export class HistoryNemesis {
  private readonly mesh: Nemesis

  constructor(
    private readonly arena: Arena,
    private readonly load: HistoryLoad,
  ) {
    this.mesh = new Nemesis(arena.wires, arena.nodes, load, isOfStore)
  }

  /** One fault from its beginning to its end: the network is whole then, every node runs, and its store works. */
  async strike(fault: Fault): Promise<void> {
    return isOfGround(fault) ? this.strikeGround(fault) : this.mesh.strike(fault as Fault<MeshFaultKind>)
  }

  private async strikeGround(fault: Fault<GroundFaultKind>): Promise<void> {
    switch (fault.kind) {
      case 'kill all':
        return this.killAll(fault)
      case 'rolling restart':
        return this.restartInTurn(fault)
      case 'disk full':
        return this.fillDisk(fault)
      case 'clock':
        return this.setClock(fault)
      case 'redis killed':
      case 'redis frozen':
      case 'redis failover':
        return this.strikeRedis(fault)
    }
  }

  private async killAll({ lasts }: Fault): Promise<void> {
    const { nodes } = this.arena
    assertHealthy(nodes, isOfStore)
    for (const node of nodes) this.load.vacate(node, 'killed')
    await Promise.all(nodes.map((node) => node.kill()))
    await delay(lasts)
    await Promise.all(nodes.map((node) => node.start()))
  }

  /** As an operator does it: the next one goes when the one before says that it is ready. */
  private async restartInTurn({ order = [], lasts }: Fault): Promise<void> {
    for (const number of order) {
      const node = this.node(number)
      this.load.vacate(node, 'drained')
      assert.deepEqual(await node.stop(), { code: 0, signal: null }, `${node.name} ends by SIGTERM`)
      await delay(lasts)
      await node.start()
      await node.whenReady()
      await eventually(() => assertLinked(this.arena.nodes), { within: LINKED_WITHIN_MS, every: 100 })
      this.load.returns(node)
    }
  }

  private async fillDisk({ victim, lasts }: Fault): Promise<void> {
    const { disks } = this.arena
    if (disks === undefined) throw new Error('the disks here are not small')
    const node = this.node(victim)
    await disks.fill(node)
    await delay(lasts)
    await disks.empty(node)
  }

  private async setClock({ victim = 0, step = 0, lasts }: Fault): Promise<void> {
    const { clocks } = this.arena
    if (clocks === undefined) throw new Error('the clocks here cannot be set')
    const node = this.node(victim)
    await clocks.set(victim, node, step)
    // The network is whole: sessions move between clocks that do not agree.
    this.load.calm()
    await delay(lasts)
    this.load.stay()
    await eventually(() => assert.deepEqual(this.load.moving(), []), { within: SETTLED_WITHIN_MS })
    await clocks.set(victim, node, 0)
  }

  private async strikeRedis({ kind, lasts }: Fault): Promise<void> {
    const { redis, nodes } = this.arena
    if (redis === undefined) throw new Error('there is no Redis')
    if (kind === 'redis failover') await redis.failOver(lasts)
    else if (kind === 'redis killed') {
      await redis.kill()
      await delay(lasts)
      await redis.resume()
    } else {
      redis.freeze()
      await delay(lasts)
      redis.thaw()
    }
    await redis.whenContent(nodes)
  }

  private node(number: number | undefined): NodeProcess {
    const node = this.arena.nodes[(number ?? 0) - 1]
    if (node === undefined) throw new Error(`there is no node ${number}`)
    return node
  }
}

function isOfGround(fault: Fault): fault is Fault<GroundFaultKind> {
  return GROUND_FAULT_KINDS.some((kind) => kind === fault.kind)
}

/** A node whose disk is full, or whose Redis is away, says so. */
function isOfStore({ msg }: LogLine): boolean {
  return msg === 'the store cannot write' || msg.startsWith('Redis ')
}
