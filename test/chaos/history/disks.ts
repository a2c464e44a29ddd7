/**
 * Small disks: the data directory of each node is a tmpfs of its own, which can be filled and emptied. It is mounted for
 * everybody and not in the node's own mount namespace: it has to outlive the node.
 */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Packet } from 'mqtt-packet'
import { eventually } from '../../support/eventually.js'
import type { NodeProcess } from '../../support/node-process.js'
import { type ClientOptions, HistoryClient } from './client.js'
import { Recorder } from './recorder.js'

/** Much more than a node under this load keeps. */
const DISK_MEGABYTES = 128
const CHUNK = Buffer.alloc(64 * 1024)
/** A store has room of its own within its file, which has to be used up before it feels the disk. */
const GLUTTON_BYTES = 20_000
/** To one session. */
const GLUTTON_MESSAGES = 40
/** As much as the disk has, twice. */
const MAXIMUM_GLUTTONS = (2 * DISK_MEGABYTES * 1024 * 1024) / (GLUTTON_BYTES * GLUTTON_MESSAGES)
const FULL_WITHIN_MS = 30_000
const ROOM_WITHIN_MS = 20_000

export class SmallDisks {
  private readonly mounted: string[] = []
  private gluttons: Gluttons | undefined

  /** @param nodes whose data directories they become, before they start. @throws when nothing can be mounted here */
  constructor(nodes: readonly NodeProcess[]) {
    process.once('exit', this.remove)
    for (const { dataDirectory } of nodes) {
      mkdirSync(dataDirectory, { recursive: true })
      run('mount', '-t', 'tmpfs', '-o', `size=${DISK_MEGABYTES}m`, 'none', dataDirectory)
      this.mounted.push(dataDirectory)
    }
  }

  /** Leaves no room; resolves when the node refuses to take what it cannot keep. */
  async fill(node: NodeProcess): Promise<void> {
    const file = openSync(ballastOf(node), 'w')
    try {
      for (;;) writeSync(file, CHUNK)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    } finally {
      closeSync(file)
    }
    this.gluttons = new Gluttons(node)
    await this.gluttons.feed()
  }

  /** Makes room again. */
  makeRoom(node: NodeProcess): void {
    rmSync(ballastOf(node))
  }

  /** With room again: resolves when the node's store works, and what it was fed with is gone. */
  async whenContent(node: NodeProcess): Promise<void> {
    await eventually(
      async () => assert.equal((await node.metrics()).value('shoalmq_store_failing'), 0, `the store of ${node.name}`),
      { within: ROOM_WITHIN_MS, every: 100 },
    )
    await this.gluttons?.end()
  }

  /** Idempotent. */
  stop(): void {
    process.off('exit', this.remove)
    this.remove()
  }

  private readonly remove = (): void => {
    // Lazily: a node that was killed just now may not be gone yet.
    for (const directory of this.mounted.splice(0)) run('umount', '-l', directory)
  }
}

/** Sessions that are given large messages until their node refuses them. They are no part of the history. */
class Gluttons {
  private count = 0

  constructor(private readonly node: NodeProcess) {}

  /** One after the other, each well below the bound of its queue. */
  async feed(): Promise<void> {
    let isRefused = false
    while (!isRefused) {
      assert.ok(this.count < MAXIMUM_GLUTTONS, `${this.node.name} takes in whatever it is given`)
      this.count += 1
      const topic = this.nameOf(this.count)
      await this.visit({ clientId: topic, clean: false }, (client, packet) => {
        if (packet !== undefined) return packet.cmd === 'suback'
        client.send({
          cmd: 'subscribe',
          messageId: 1,
          subscriptions: [{ topic, qos: 1, nl: false, rap: false, rh: 2 }],
        })
        return false
      })
      let left = GLUTTON_MESSAGES
      await this.visit({ clientId: `${topic}-feeder`, clean: true }, (client, packet) => {
        isRefused = packet?.cmd === 'puback' && (packet.reasonCode ?? 0) >= 0x80
        if (isRefused || left === 0) return true
        left -= 1
        const payload = Buffer.alloc(GLUTTON_BYTES)
        client.send({ cmd: 'publish', topic, payload, qos: 1, dup: false, retain: false, messageId: 1 })
        return false
      })
    }
  }

  /** Their sessions, and what was kept for them. */
  async end(): Promise<void> {
    for (; this.count > 0; this.count -= 1)
      await this.visit({ clientId: this.nameOf(this.count), clean: true }, () => true)
  }

  private nameOf(number: number): string {
    return `glutton-${number}-${this.node.name}`
  }

  /** @param take is given every packet, and before them none when it is let in; true when that was what it came for */
  private async visit(
    options: ClientOptions,
    take: (client: HistoryClient, packet: Packet | undefined) => boolean,
  ): Promise<void> {
    let isDone = false
    let why = 'is at it'
    const client = new HistoryClient(this.node, options, new Recorder(), {
      connected: () => {
        isDone = take(client, undefined)
      },
      packet: (packet) => {
        isDone ||= take(client, packet)
      },
      closed: () => {
        why = 'has lost its connection'
      },
    })
    try {
      await eventually(() => assert.ok(isDone, `${options.clientId} ${why}`), { within: FULL_WITHIN_MS })
    } finally {
      client.end('it has what it came for')
    }
  }
}

function ballastOf({ dataDirectory }: NodeProcess): string {
  return join(dataDirectory, 'ballast')
}

function run(command: string, ...parameters: string[]): void {
  execFileSync(command, parameters, { stdio: ['ignore', 'ignore', 'pipe'] })
}
