/**
 * Whether nodes hear each other again. A link that nobody has missed is up as soon as the network is whole, and yet nothing
 * comes over it until TCP tries again, which takes up to as long as the cut has.
 */

import assert from 'node:assert/strict'
import { eventually } from '../../support/eventually.js'
import type { NodeProcess } from '../../support/node-process.js'
import { HistoryClient } from './client.js'
import { Recorder } from './recorder.js'

const HEARD_WITHIN_MS = 30_000
const TOPIC = 'hearing'

/** A message from each node comes to a subscriber on each; these clients are no part of the history. */
export async function assertHeard(nodes: readonly NodeProcess[]): Promise<void> {
  const recorder = new Recorder()
  const heard = nodes.map(() => new Set<string>())
  let subscribed = 0
  const clients = nodes.map((node, index) => {
    const client = new HistoryClient(node, { clientId: `hearing-${node.name}`, clean: true }, recorder, {
      connected: () =>
        client.send({
          cmd: 'subscribe',
          messageId: 1,
          subscriptions: [{ topic: TOPIC, qos: 0, nl: false, rap: false, rh: 2 }],
        }),
      packet: (packet) => {
        if (packet.cmd === 'suback') subscribed += 1
        else if (packet.cmd === 'publish') heard[index]?.add(packet.payload.toString())
      },
      closed: () => undefined,
    })
    return client
  })
  try {
    await eventually(() => assert.equal(subscribed, nodes.length, 'subscribers'), { within: HEARD_WITHIN_MS })
    await eventually(
      () => {
        for (const client of clients) {
          const fields = { qos: 0, dup: false, retain: false } as const
          client.send({ cmd: 'publish', topic: TOPIC, payload: client.node.name, ...fields })
        }
        for (const [index, { size }] of heard.entries())
          assert.equal(size, nodes.length, `heard by ${nodes[index]?.name}`)
      },
      { within: HEARD_WITHIN_MS, every: 100 },
    )
  } finally {
    for (const client of clients) client.end('all is heard')
  }
}
