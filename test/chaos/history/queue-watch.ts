/** Looks at what waits on the nodes, once a second, and notes what is more than it has seen before in this history. */

import { setTimeout as delay } from 'node:timers/promises'
import type { Page } from '../../../src/admin/page.js'
import type { ClientDescription } from '../../../src/broker/client-list.js'
import type { NodeProcess } from '../../support/node-process.js'
import type { Recorder } from './recorder.js'

const LOOK_EVERY_MS = 1_000

export interface QueueBounds {
  /** Messages that wait for a session. */
  readonly messages: number
  /** Their bytes. */
  readonly bytes: number
  /** Messages that its client has not acknowledged yet. */
  readonly inFlight: number
  /** Bytes of QoS 1 and 2 messages that a node keeps for one peer. */
  readonly linkBytes: number
}

export class QueueWatch {
  /** By node and queue: the deepest that was noted. */
  private readonly deepest = new Map<string, number>()
  private isStopped = false
  private looks: Promise<void> | undefined

  constructor(
    private readonly nodes: readonly NodeProcess[],
    private readonly recorder: Recorder,
    private readonly bounds: QueueBounds,
  ) {}

  start(): void {
    this.looks = this.watch()
  }

  async stop(): Promise<void> {
    this.isStopped = true
    await this.looks
  }

  /** For a new history. */
  forget(): void {
    this.deepest.clear()
  }

  /** At every node. @throws when one does not answer */
  async look(): Promise<void> {
    await Promise.all(this.nodes.map((node) => this.lookAt(node)))
  }

  private async watch(): Promise<void> {
    while (!this.isStopped) {
      // A node that is down or frozen tells nothing, and is none the worse for it.
      await Promise.allSettled(this.nodes.map((node) => this.lookAt(node)))
      await delay(LOOK_EVERY_MS)
    }
  }

  private async lookAt(node: NodeProcess): Promise<void> {
    const { bounds } = this
    const { data } = await node.ask<Page<ClientDescription>>('clients?limit=10000')
    for (const { clientId, queued, queuedBytes, inFlight } of data) {
      this.note(node, `the queue of ${clientId}`, queued, bounds.messages)
      this.note(node, `the bytes of the queue of ${clientId}`, queuedBytes, bounds.bytes)
      this.note(node, `what is in flight to ${clientId}`, inFlight, bounds.inFlight)
    }
    const metrics = await node.metrics()
    for (const peer of metrics.labels('shoalmq_link_unacked_bytes', 'peer')) {
      const depth = metrics.value('shoalmq_link_unacked_bytes', { peer })
      this.note(node, `what is kept for ${peer}`, depth, bounds.linkBytes)
    }
  }

  private note(node: NodeProcess, name: string, depth: number, bound: number): void {
    const key = `${node.name} ${name}`
    if (depth <= (this.deepest.get(key) ?? 0)) return
    this.deepest.set(key, depth)
    this.recorder.note({ kind: 'queue', node: node.name, name, depth, bound })
  }
}
