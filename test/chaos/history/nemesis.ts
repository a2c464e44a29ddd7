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
import type { RedisBacking } from './redis-backing.js'

const LINKED_WITHIN_MS = 30_000
/** Sessions on their way have arrived by then. */
const SETTLED_WITHIN_MS = 20_000
/** A node that cannot start. */
const ENDED_WITHIN_MS = 20_000
/** Of two faults at a time: from the beginning of the one to that of the other, and from the end of the one to that of the other. */
const MEANWHILE_MS = 1_000

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
      case 'redis handover':
      case 'redis cut':
      case 'kill while redis is away':
        return this.strikeRedis(fault)
      case 'kill with a full disk':
        return this.killWithFullDisk(fault)
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
    disks.makeRoom(node)
    await disks.whenContent(node)
  }

  /** As long as there is no room it does not start, and says why. */
  private async killWithFullDisk({ victim, lasts }: Fault): Promise<void> {
    const { disks } = this.arena
    if (disks === undefined) throw new Error('the disks here are not small')
    const node = this.node(victim)
    await disks.fill(node)
    await delay(MEANWHILE_MS)
    await this.kill(node)
    await delay(lasts)
    node.spawn()
    await eventually(() => assert.equal(node.isRunning, false, `${node.name} runs without room`), {
      within: ENDED_WITHIN_MS,
    })
    assert.match(node.lastLines(), /cannot be written.*no space left/)
    disks.makeRoom(node)
    await node.start()
    await disks.whenContent(node)
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

  private async strikeRedis(fault: Fault): Promise<void> {
    const { redis, nodes } = this.arena
    if (redis === undefined) throw new Error('there is no Redis')
    const { kind, lasts, victim, apart = [] } = fault
    if (kind === 'redis failover') await redis.failOver(this.node(victim), lasts)
    else if (kind === 'redis handover') await redis.handOver(this.node(victim))
    else if (kind === 'redis cut') {
      await redis.cuts?.cut(apart)
      await delay(lasts)
      await redis.cuts?.heal()
    } else if (kind === 'redis frozen') {
      redis.freeze()
      await delay(lasts)
      redis.thaw()
    } else if (kind === 'redis killed') {
      await redis.kill()
      await delay(lasts)
      await redis.resume()
    } else await this.killWithoutRedis(redis, fault)
    await redis.whenContent(nodes)
  }

  private async killWithoutRedis(redis: RedisBacking, { victim, lasts }: Fault): Promise<void> {
    const node = this.node(victim)
    await redis.kill()
    await delay(MEANWHILE_MS)
    await this.kill(node)
    await delay(lasts)
    // It waits for Redis as it starts.
    await Promise.all([node.start(), delay(MEANWHILE_MS).then(() => redis.resume())])
  }

  private async kill(node: NodeProcess): Promise<void> {
    // What this life has logged goes with it.
    assertHealthy([node], isOfStore)
    this.load.vacate(node, 'killed')
    await node.kill()
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
