import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pino } from 'pino'
import { ANSWERED } from '../../../../src/broker/group-delivery.js'
import { KeptSessions } from '../../../../src/broker/kept/kept-sessions.js'
import { SessionEntry } from '../../../../src/broker/session-registry.js'
import type { Postponed } from '../../../../src/broker/store-port.js'
import { type Hold, NEVER_EXPIRES, Session } from '../../../../src/mqtt/session/session.js'
import { createSessionMetrics } from '../../../../src/mqtt/session/session-metrics.js'
import { Message } from '../../../../src/mqtt/wire/message.js'
import type { QoS } from '../../../../src/mqtt/wire/packets.js'
import { MetricRegistry } from '../../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../../src/util/timer-wheel.js'
import { TurnQueue } from '../../../../src/util/turn.js'
import { untilReleased } from '../../../contract/store.js'
import { eventually } from '../../../support/eventually.js'
import { CountingHold, RecordingOutlet } from '../../mqtt/session/recording-outlet.js'
import { DELIVERY } from '../../mqtt/session/session-setting.js'
import { directoryFor, openEmbedded } from '../../store/store-bed.js'

const OPTIONS = { queue: { length: 1_000, bytes: 1e6 }, inFlightBytes: 1e6, queueHoldTime: 1_000 }
const LIFECYCLE = { publishWill: () => undefined, endSession: () => undefined }

/** A node's sessions in one life of its store. */
async function open(directory: string) {
  const life = await openEmbedded(directory)
  const metrics = createSessionMetrics(new MetricRegistry())
  const timers = new TimerWheel()
  const entries = new Map<string, SessionEntry>()
  const [ended, missing] = [{ value: 0 }, { value: 0 }]
  const enter = (clientId: string): SessionEntry => {
    const session = new Session(clientId, NEVER_EXPIRES, OPTIONS, { timers, metrics })
    const entry = new SessionEntry(session, timers, LIFECYCLE)
    entries.set(clientId, entry)
    return entry
  }
  // How many are postponed, as the shelf is told.
  let postponed = 0
  const { store } = life
  const makeShelf = store.shelf.bind(store)
  store.shelf = (name, contents) => {
    const shelf = makeShelf(name, contents)
    const { postpone, hurry, settle } = shelf
    const counting = (call: (entry: Postponed) => void, change: number) => (entry: Postponed) => {
      postponed += change
      call.call(shelf, entry)
    }
    return Object.assign(shelf, {
      postpone: counting(postpone, 1),
      hurry: counting(hurry, -1),
      settle: counting(settle, -1),
    })
  }
  const kept = new KeptSessions(store, {
    sessions: {
      restore: enter,
      subscribe: () => undefined,
      resumeRetained: () => undefined,
      restored: () => undefined,
      expired: () => undefined,
    },
    groupOf: () => undefined,
    turn: new TurnQueue({ onError: (error) => assert.ifError(error) }),
    ended,
    missing,
    log: pino({ level: 'silent' }),
  })
  await life.load()
  kept.finishRestore()
  return {
    ...life,
    missing,
    /** A message waits, and for no commit. */
    isPostponed: () => postponed > 0,
    begin(clientId: string): Session {
      const entry = enter(clientId)
      kept.begin(entry)
      return entry.session
    },
    session: (clientId: string) => entries.get(clientId)?.session as Session,
  }
}

function deliver(session: Session, payload: string, pending: Hold | undefined, qos: QoS = 1): void {
  const message = Message.from('t', Buffer.from(payload), { qos, publisherId: 'other' })
  session.deliver(message, { ...DELIVERY, qos: 2 }, pending)
}

/** A publisher, who has handed on all its holds when this returns. */
function publish(sessions: Session[], payload: string, qos: QoS = 1): CountingHold {
  const hold = new CountingHold()
  const message = Message.from('t', Buffer.from(payload), { qos, publisherId: 'other' })
  for (const session of sessions) session.deliver(message, DELIVERY, hold)
  hold.release()
  return hold
}

describe('sessions that are kept', () => {
  it('need not write a message that their clients acknowledge at once, and its publisher is told then', async (t) => {
    const directory = directoryFor(t)
    const node = await open(directory)
    const sessions = [node.begin('a'), node.begin('b')]
    const outlets = sessions.map(() => new RecordingOutlet())
    for (const [index, session] of sessions.entries()) session.attach(outlets[index] as RecordingOutlet)
    const hold = publish(sessions, 'hello')
    for (const [index, session] of sessions.entries()) {
      assert.equal(hold.isReleased, false, 'not before all of them have it')
      session.acknowledge(outlets[index]?.sent[0]?.packetId ?? 0)
    }
    await untilReleased(hold)
    await node.stop()
    const next = await open(directory)
    const state = [next.missing.value, next.session('a').inFlightCount, next.session('b').queueLength]
    assert.deepEqual(state, [0, 0, 0])
    await next.stop()
  })

  it('have it on the disk at once when one of them is away, or does not acknowledge', async (t) => {
    const directory = directoryFor(t)
    const node = await open(directory)
    const [here, away] = [node.begin('here'), node.begin('away')]
    here.attach(new RecordingOutlet())
    const holds = [publish([here, away], 'for both'), publish([here], 'not acknowledged')]
    await untilReleased(...holds)
    await node.stop()
    const next = await open(directory)
    const outlets = ['here', 'away'].map((clientId) => {
      const outlet = new RecordingOutlet()
      next.session(clientId).attach(outlet)
      return outlet.take()
    })
    assert.deepEqual(outlets, [['for both', 'not acknowledged'], ['for both']])
    await next.stop()
  })

  it('send what is in flight again from the disk, with its packet id, however often the client comes back', async (t) => {
    const directory = directoryFor(t)
    const node = await open(directory)
    const session = node.begin('a')
    session.attach(new RecordingOutlet())
    const holds = ['1', '2', '3'].map((payload) => publish([session], payload, 2))
    await untilReleased(...holds)
    const again = (of: Session) => {
      const outlet = new RecordingOutlet()
      of.detach()
      of.attach(outlet)
      return outlet.takeSent().map(({ packetId, payload, duplicate }) => [packetId, payload, duplicate])
    }
    const expected = [
      [1, '1', true],
      [2, '2', true],
      [3, '3', true],
    ]
    assert.deepEqual([again(session), again(session)], [expected, expected])
    await node.stop()
    const next = await open(directory)
    assert.deepEqual(again(next.session('a')), expected)
    assert.equal(next.session('a').inFlightCount, 3)
    await next.stop()
  })

  it('are not waited for when their client was slow, until it is quick again', async (t) => {
    const node = await open(directoryFor(t))
    const session = node.begin('a')
    const outlet = new RecordingOutlet()
    session.attach(outlet)
    // Nobody acknowledges: its messages are written in the end, and from then on at once.
    await untilReleased(publish([session], 'first'))
    await eventually(async () => {
      const hold = publish([session], 'not waited for')
      const isPostponed = node.isPostponed()
      await untilReleased(hold)
      assert.equal(isPostponed, false)
    })
    const settle = () => {
      for (const { packetId } of outlet.takeSent()) session.acknowledge(packetId)
    }
    settle()
    // The next message is timed, and acknowledged in time.
    const timed = publish([session], 'timed')
    settle()
    await untilReleased(timed)
    const hold = publish([session], 'waited for')
    assert.equal(node.isPostponed(), true)
    settle()
    await untilReleased(hold)
    await node.stop()
  })

  it('do not wait with a message whose publisher was answered', async (t) => {
    const node = await open(directoryFor(t))
    const session = node.begin('a')
    session.attach(new RecordingOutlet())
    // Told by a commit that is wanted for something else.
    await untilReleased(publish([node.begin('away')], 'x'))
    const before = node.metrics.entries.value
    deliver(session, 'from another member', ANSWERED)
    await untilReleased(publish([node.session('away')], 'y'))
    assert.ok(node.metrics.entries.value >= before + 3, 'both messages and the progress of a session')
    await node.stop()
  })

  it('go on with the next message when one that waited for its packet id to be kept is too large for its client now', async (t) => {
    const node = await open(directoryFor(t))
    const session = node.begin('a')
    session.attach(new RecordingOutlet({ sendMaximum: 1 }))
    const holds = [publish([session], 'x'.repeat(500), 2), publish([session], 'next')]
    session.detach()
    const outlet = new RecordingOutlet({ sendMaximum: 1, maximumPacketSize: 100 })
    session.attach(outlet)
    await untilReleased(...holds)
    assert.deepEqual([outlet.take(), session.queueLength], [['next'], 0])
    await node.stop()
  })
})
