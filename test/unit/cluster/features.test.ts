import assert from 'node:assert/strict'
import { afterEach, describe, it } from 'node:test'
import { BatchReader } from '../../../src/cluster/batch.js'
import { assertSpoken } from '../../../src/cluster/features.js'
import { dialHandshake } from '../../../src/cluster/handshake.js'
import { MeshChannel } from '../../../src/cluster/transport.js'
import type { LinkBody } from '../../../src/cluster/wire.js'
import { eventually } from '../../support/eventually.js'
import { stopAll, TestNode } from './test-cluster.js'

const SECOND: readonly LinkBody[] = [
  { $case: 'sessionOffer', value: { sessions: [] } },
  { $case: 'sessionDecline', value: {} },
  { $case: 'willCopies', value: { wills: [], reset: true } },
  { $case: 'willsVoid', value: { owner: '', wills: [] } },
  { $case: 'directoryClaim', value: { request: 1, clientId: 'c', discard: false, onlyFrom: 'b@127.0.0.1' } },
]

describe('what a link of an older version carries', () => {
  let nodes: TestNode[] = []

  afterEach(async () => {
    await stopAll(nodes)
    nodes = []
  })

  it('is nothing that came with a later one', () => {
    for (const body of SECOND) {
      assert.throws(() => assertSpoken(1, body), { code: 'LINK_FOREIGN_MESSAGE' }, body.$case)
      assertSpoken(2, body)
    }
    assertSpoken(1, { $case: 'directoryClaim', value: { request: 1, clientId: 'c', discard: false } })
    assertSpoken(1, { $case: 'routeAck', value: { version: 1 } })
  })

  it('has no entry in the form of MQTT 3.1.1, and no run of entries', () => {
    const packet = [0x30, 3, 0, 1, 0x74]
    for (const entry of [Buffer.from([1, ...packet]), Buffer.from([2, 0, 0, 0, 6, 0x30, 4, 0, 1, 0x74, 0])]) {
      const topics: string[] = []
      new BatchReader().read(entry, 0, ({ topic }) => topics.push(topic))
      assert.deepEqual(topics, ['t'])
      assert.throws(() => new BatchReader().read(entry, 0, () => {}, false), { code: 'BATCH_MALFORMED' })
    }
  })

  it('is refused and counted otherwise, and the link broken off', async () => {
    const node = new TestNode('a', {}, { protocolVersion: 1 })
    nodes = [node]
    await node.cluster.start()
    const stream = new MeshChannel(node.address).openLink()
    const peer = 'b@127.0.0.1'
    const identity = { cluster: 'shoalmq', node: peer, incarnation: 1, address: '127.0.0.1:1', software: '0' }
    const options = { identity, protocol: 2, minimumProtocol: 1, secret: '', admit: () => undefined }
    const result = await dialHandshake(stream, options, false)
    assert.equal(result.kind === 'linked' && result.protocol, 1)
    stream.send({
      $case: 'open',
      value: { routeVersion: 0, receivedSequence: 0, keptSequence: 0, firstSequence: 1 },
    })
    stream.flow({ onMessage() {}, onDrain() {}, onClosed() {} })
    await eventually(() => assert.equal(node.logged('link up').length, 1))
    stream.send({ $case: 'willsVoid', value: { owner: '', wills: [] } })
    await eventually(() => assert.equal(stream.isClosed, true))
    assert.equal(await node.metric(`link_protocol_errors_total{peer="${peer}"}`), 1)
    assert.equal(node.logged('link broken off', 50).length, 1)
  })
})
