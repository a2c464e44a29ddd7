import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { KeptMessages, type MessageReceivers } from '../../../../src/broker/kept/kept-messages.js'
import { flagsOf } from '../../../../src/broker/kept/stored-message.js'
import { Message } from '../../../../src/mqtt/wire/message.js'
import { type MemoryDisk, MemoryStore } from '../../../support/memory-store.js'
import { CountingHold } from '../../mqtt/session/recording-outlet.js'

const FLAGS = flagsOf(1, false, false)

function messageOf(payload: string): Message {
  return Message.from('t', Buffer.from(payload), { qos: 1, publisherId: 'publisher' }).detach()
}

/** Messages on a disk, in one life of their store; what is restored is for these places. */
function open(disk: MemoryDisk, expected: ReadonlySet<string> = new Set()) {
  const restored: { session: number; place: number }[] = []
  const receivers: MessageReceivers = {
    restoreMessage: (session, place) => {
      if (!expected.has(`${session} ${place}`)) return false
      restored.push({ session, place })
      return true
    },
  }
  const store = new MemoryStore(disk)
  store.isManual = true
  const messages = new KeptMessages(receivers)
  messages.keepOn(store.shelf('messages', messages))
  const textsOf = () =>
    restored.map(({ session, place }) => `${session} ${messages.get(place, session)?.message.payload.toString()}`)
  return { store, messages, textsOf }
}

describe('messages that are kept for sessions', () => {
  it('are kept once for all their sessions, and hold their publisher once', async () => {
    const disk: MemoryDisk = new Map()
    const { store, messages } = open(disk)
    const hold = new CountingHold()
    const message = messageOf('x')
    const places = [1, 2, 3].map((session) => messages.add(message, session, FLAGS, undefined, hold))
    assert.deepEqual([new Set(places).size, hold.holds], [1, 2])
    store.commit()
    assert.deepEqual([store.entries('messages'), hold.holds], [1, 1])
    assert.equal(messages.get(places[0] ?? 0, 2)?.message.payload.toString(), 'x')
    assert.equal(messages.get(places[0] ?? 0, 2)?.message.publisherId, 'publisher')
    for (const session of [1, 2]) messages.release(places[0] ?? 0, session)
    store.commit()
    assert.equal(store.entries('messages'), 1)
    messages.release(places[0] ?? 0, 3)
    store.commit()
    assert.equal(store.entries('messages'), 0)
  })

  it('wait for nobody who is likely to get one soon when another session has the same message written at once', () => {
    const { store, messages } = open(new Map())
    const postponed: number[] = []
    const shelf = store.shelf('others', messages)
    messages.keepOn({ ...shelf, postpone: ({ number }) => void postponed.push(number) })
    const [split, waiting] = [messageOf('split'), messageOf('waiting')]
    messages.add(split, 1, FLAGS, undefined, new CountingHold())
    // Of a group, whose copy is answered for on its own.
    messages.add(split, 2, FLAGS, undefined, new CountingHold(), true)
    assert.deepEqual(postponed, [])
    messages.add(waiting, 2, FLAGS, undefined, new CountingHold(), true)
    assert.equal(postponed.length, 1)
  })

  it('are never written when all have got them before the commit, and are removed when they get them meanwhile', () => {
    const { store, messages } = open(new Map())
    const [early, late] = [messageOf('early'), messageOf('late')]
    messages.release(messages.add(early, 1, FLAGS, undefined, undefined), 1)
    const place = messages.add(late, 1, FLAGS, undefined, undefined)
    const finish = store.takeSnapshot()
    messages.release(place, 1)
    finish()
    assert.equal(store.entries('messages'), 1)
    store.commit()
    assert.equal(store.entries('messages'), 0)
  })

  it('get a place of their own each, when one session is to get a message twice', () => {
    const { messages } = open(new Map())
    const message = messageOf('x')
    const places = [1, 1, 2].map((session) => messages.add(message, session, FLAGS, undefined, undefined))
    assert.equal(new Set(places).size, 2)
  })

  it('are on the disk after any steps exactly as far as sessions have yet to get them', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('add' as const),
        sessions: fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { minLength: 1 }),
      }),
      fc.record({ kind: fc.constantFrom('release' as const, 'withdraw' as const), pick: fc.nat() }),
      fc.record({ kind: fc.constantFrom('snapshot' as const, 'finish' as const, 'fail' as const) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const disk: MemoryDisk = new Map()
        const { store, messages } = open(disk)
        /** `session place` of those that are owed, and of those that a session's progress would tell to be settled. */
        const owed = new Map<string, { session: number; place: number; text: string }>()
        let finish: (() => void) | undefined
        let count = 0
        for (const one of steps) {
          if (one.kind === 'add') {
            count += 1
            const message = messageOf(`m${count}`)
            for (const session of one.sessions) {
              const place = messages.add(message, session, FLAGS, undefined, undefined)
              owed.set(`${session} ${place}`, { session, place, text: `${session} m${count}` })
            }
          } else if (one.kind === 'release' || one.kind === 'withdraw') {
            const [key, found] = [...owed][one.pick % Math.max(1, owed.size)] ?? []
            if (key === undefined || found === undefined) continue
            owed.delete(key)
            messages[one.kind](found.place, found.session)
          } else if (one.kind === 'snapshot') finish ??= store.takeSnapshot()
          else if (one.kind === 'finish') {
            finish?.()
            finish = undefined
          } else if (finish === undefined) store.fail()
        }
        finish?.()
        for (const { session, place, text } of owed.values()) {
          assert.equal(`${session} ${messages.get(place, session)?.message.payload.toString()}`, text)
        }
        store.commit()
        store.commit()
        const numbers = new Set([...owed.values()].map(({ place }) => Math.floor(place / 16)))
        assert.equal(store.entries('messages'), numbers.size)
        const next = open(disk, new Set(owed.keys()))
        void next.store.load()
        assert.deepEqual(next.textsOf().sort(), [...owed.values()].map(({ text }) => text).sort())
      }),
      { numRuns: 300 },
    )
  })
})
