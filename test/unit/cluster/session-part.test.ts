import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { LeavingSession, MovedInFlight, MovedMessage, MovedSubscription } from '../../../src/broker/move-ports.js'
import { markEntry, markOf } from '../../../src/cluster/entry-extension.js'
import {
  decodeInFlight,
  decodeQueued,
  decodeState,
  decodeSubscription,
  queuePart,
  stateParts,
} from '../../../src/cluster/takeover/session-part.js'
import { decodeMark, decodeSessionPart, encodeMark, encodeSessionPart } from '../../../src/cluster/wire.js'
import { Message } from '../../../src/mqtt/wire/message.js'

function leaving(parts: {
  subscriptions?: MovedSubscription[]
  inFlight?: MovedInFlight[]
  queue?: MovedMessage[]
}): LeavingSession {
  const { subscriptions = [], inFlight = [], queue = [] } = parts
  return {
    clientId: 'c',
    subscriptions,
    inFlight,
    state: {
      expiryInterval: 77,
      lastPacketId: 9,
      received: [1, 65_535],
      unsettled: [1],
      refused: [65_535],
      retainedFeeds: ['r/#'],
      waits: {
        endsIn: 12_345.5,
        will: {
          will: {
            topic: 'gone/c',
            payload: Buffer.from('c is gone'),
            qos: 2,
            retain: true,
            delayInterval: 2.5,
            properties: {
              messageExpiryInterval: 0,
              correlationData: Buffer.from([1, 2]),
              userProperties: [['k', 'v']],
            },
          },
          dueIn: 2_500,
        },
      },
    },
    queueLength: queue.length,
    messageAt: (place) => queue[place],
    cut() {},
    leaveRest: () => ({ cut() {}, end() {} }),
    close() {},
    take() {},
    watchUnsettled() {},
    commit() {},
    end() {},
    abort() {},
  }
}

function queued(message: Message, fields: Partial<MovedMessage> = {}): MovedMessage {
  return { message, qos: 1, retain: false, subscriptionIds: undefined, share: undefined, ...fields }
}

/** As it arrives at the other node. */
function sent<T>(
  part: Parameters<typeof encodeSessionPart>[0],
  read: (got: ReturnType<typeof decodeSessionPart>) => T,
): T {
  return read(decodeSessionPart(encodeSessionPart(part)))
}

describe('a session on a link', () => {
  it('keeps its subscriptions with all their options, and its state', () => {
    const subscriptions: MovedSubscription[] = Array.from({ length: 1_200 }, (_, index) => ({
      filter: `f/${index}/+`,
      options: {
        qos: (index % 3) as 0 | 1 | 2,
        noLocal: index % 2 === 0,
        retainAsPublished: index % 5 === 0,
        retainHandling: (index % 3) as 0 | 1 | 2,
        subscriptionId: index % 4 === 0 ? undefined : index,
      },
    }))
    const parts = [...stateParts(leaving({ subscriptions }))]
    assert.equal(parts.length > 2, true, 'in several parts')
    assert.deepEqual(
      parts.map(({ stateComplete }) => stateComplete),
      parts.map((_, index) => index === parts.length - 1),
    )
    const got = parts.flatMap((part) => sent(part, (one) => one.subscriptions.map(decodeSubscription)))
    assert.deepEqual(got, subscriptions)
    const last = parts.at(-1)
    assert(last !== undefined)
    assert.deepEqual(sent(last, decodeState), leaving({}).state)
  })

  it('keeps a message with its properties, its publisher, and what is left of its expiry interval', () => {
    const message = Message.from('a/b', Buffer.from('payload'), {
      qos: 2,
      retain: true,
      publisherId: 'someone',
      properties: { messageExpiryInterval: 100, contentType: 'text', userProperties: [['k', 'v']] },
    })
    message.expiresAt = Date.now() + 50_000
    const next = queuePart(
      leaving({
        queue: [queued(message, { qos: 1, retain: true, subscriptionIds: [3, 70_000], share: '$share/g/a/#' })],
      }),
      0,
    )
    assert(next !== undefined)
    assert.equal(next.count, 1)
    const [got] = sent(next.part, ({ queue }) => queue.map(decodeQueued))
    assert(got !== undefined)
    const { qos, retain, subscriptionIds, share } = got
    assert.deepEqual(
      { qos, retain, subscriptionIds, share },
      { qos: 1, retain: true, subscriptionIds: [3, 70_000], share: '$share/g/a/#' },
    )
    assert.equal(got.message.topic, 'a/b')
    assert.equal(got.message.payload.toString(), 'payload')
    assert.deepEqual([got.message.qos, got.message.retain, got.message.publisherId], [2, true, 'someone'])
    assert.ok(Math.abs(got.message.expiresAt - message.expiresAt) < 1_000)
    const text = got.message.properties?.toString('latin1') ?? ''
    assert.ok(text.includes('text') && text.includes('k') && text.includes('v'))
  })

  it('keeps what is in flight: ids, PUBRELs that are out, messages where they are needed', () => {
    const message = Message.from('t', Buffer.from('x'), { qos: 2 })
    const plain = { qos: 2 as const, retain: false, subscriptionIds: undefined, share: undefined }
    const inFlight: MovedInFlight[] = [
      { ...plain, packetId: 7, releaseOrder: 0, message },
      { ...plain, packetId: 65_535, releaseOrder: 3, message: undefined },
    ]
    const got = [...stateParts(leaving({ inFlight }))].flatMap((part) =>
      sent(part, (one) => one.inFlight.map(decodeInFlight)),
    )
    assert.deepEqual(
      got.map(({ packetId, releaseOrder, message: one }) => [packetId, releaseOrder, one?.payload.toString()]),
      [
        [7, 0, 'x'],
        [65_535, 3, undefined],
      ],
    )
  })

  it('goes in parts of bounded size, save for one message that is larger', () => {
    const queue = Array.from({ length: 100 }, (_, index) =>
      queued(Message.from('t', Buffer.alloc(index === 50 ? 1_000_000 : 1_000), { qos: 1 })),
    )
    const sizes: number[] = []
    let at = 0
    for (let next = queuePart(leaving({ queue }), at); next !== undefined; next = queuePart(leaving({ queue }), at)) {
      at += next.count
      sizes.push(encodeSessionPart(next.part).length)
    }
    assert.equal(at, 100)
    assert.deepEqual(sizes.filter((size) => size > 20_000).length, 1)
  })

  it('refuses what is no session', () => {
    const part = queuePart(leaving({ queue: [queued(Message.from('t', Buffer.from('x'), { qos: 1 }))] }), 0)?.part
    const [whole] = part?.queue ?? []
    assert(whole?.publish !== undefined)
    const cut = { ...whole, publish: whole.publish.subarray(0, 3) }
    assert.throws(() => decodeQueued(cut), { code: 'SESSION_PART_MALFORMED' })
    assert.throws(() => decodeQueued({ ...whole, publish: undefined }), { code: 'SESSION_PART_MALFORMED' })
    assert.throws(() => decodeQueued({ ...whole, qos: 3 }), { code: 'SESSION_PART_MALFORMED' })
    assert.throws(() => decodeInFlight({ ...whole, packetId: 65_536 }), { code: 'SESSION_PART_MALFORMED' })
  })
})

describe('a mark among forwarded messages', () => {
  it('is a batch of its own, and an empty message for whoever does not know it', () => {
    const entry = markEntry(encodeMark({ move: 4_000_000_000, taker: 'n2@b' }))
    const mark = markOf(entry)
    assert(mark !== undefined)
    assert.deepEqual(decodeMark(mark), {
      move: 4_000_000_000,
      taker: 'n2@b',
      estate: undefined,
      restOf: undefined,
    })
    const extension = 3 + entry.readUInt16BE(1)
    assert.equal((entry[extension] ?? 0) >> 4, 3, 'a PUBLISH packet follows')
    assert.equal(entry.length, extension + 2 + (entry[extension + 1] ?? 0))
  })

  it('is nothing that a batch of messages could be taken for', () => {
    assert.equal(markOf(Buffer.from([0, 0x30, 3, 0, 1, 0x61])), undefined)
    assert.equal(markOf(Buffer.alloc(0)), undefined)
  })
})
