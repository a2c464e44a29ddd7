#!/usr/bin/env node
/**
 * Two ways to lay out the queues of sessions in LMDB, measured without a broker. `pointers`: messages, and an entry per
 * session and message that points to one. `recipients`: each message with the sessions that it is for, and per session
 * only how far it has come. Figures: docs/decisions/014-embedded-store.md.
 *
 *   node test/bench/queue-layouts.mjs [--messages 1000000]
 */

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { open } from 'lmdb'
import { runScript } from '../support/scripts/run-command.mjs'

const SESSIONS = 50
const CROWD = 10_000
const CROWD_MESSAGES = 100
/** Messages in one commit, as a node under load gathers them. */
const GROUP = 2_000
/** A payload of 64 bytes, a topic of 20, and what else is known of a message. */
const CONTENT = Buffer.alloc(100, 0x78)
const BINARY = { encoding: 'binary', keyEncoding: 'binary' }

const LAYOUTS = {
  pointers: {
    /** @param {number[]} sessions */
    enqueue({ messages, sessionsTable }, add, id, sessions) {
      add(messages.put(idOf(id), CONTENT))
      for (const session of sessions) add(sessionsTable.put(placeOf(session, id), idOf(id)))
    },
    read({ sessionsTable }) {
      const queues = new Map()
      for (const { key, value } of sessionsTable.getRange()) append(queues, key.readUInt32BE(0), value.readUIntBE(0, 6))
      return queues
    },
  },
  recipients: {
    /** @param {number[]} sessions */
    enqueue({ messages }, add, id, sessions) {
      const value = Buffer.allocUnsafe(4 + 5 * sessions.length + CONTENT.length)
      value.writeUInt32BE(sessions.length, 0)
      for (const [index, session] of sessions.entries()) {
        value.writeUInt32BE(session, 4 + 5 * index)
        value[8 + 5 * index] = 1
      }
      CONTENT.copy(value, 4 + 5 * sessions.length)
      add(messages.put(idOf(id), value))
    },
    read({ messages }) {
      const queues = new Map()
      for (const { key, value } of messages.getRange()) {
        const id = key.readUIntBE(0, 6)
        const count = value.readUInt32BE(0)
        for (let index = 0; index < count; index += 1) append(queues, value.readUInt32BE(4 + 5 * index), id)
      }
      return queues
    },
  },
}

async function main() {
  const { values } = parseArgs({ options: { messages: { type: 'string', default: '1000000' } } })
  for (const name of Object.keys(LAYOUTS)) await measure(name, Number(values.messages))
}

async function measure(name, count) {
  const layout = LAYOUTS[name]
  console.log(`\n${name}`)
  await withStore(async (store) => {
    const seconds = await timed(async () => {
      for (let first = 0; first < count; first += GROUP) {
        await commit(store, (add) => {
          for (let id = first; id < first + GROUP; id += 1) layout.enqueue(store, add, id, [id % SESSIONS])
        })
      }
    })
    await store.root.flushed
    say('one session each', `${perSecond(count, seconds)} messages, ${(store.bytes() / count).toFixed(0)} bytes each`)
    let queues = new Map()
    const started = await timed(() => {
      queues = layout.read(store)
    })
    say('start', `${(started * 1000).toFixed(0)} ms`)
    const replayed = await timed(() => {
      for (const ids of queues.values()) for (const id of ids) store.messages.get(idOf(id))
    })
    say('replay', `${perSecond(count, replayed)} messages`)
  })
  await withStore(async (store) => {
    const everybody = Array.from({ length: CROWD }, (_, session) => session)
    const seconds = await timed(async () => {
      for (let id = 0; id < CROWD_MESSAGES; id += 1) {
        await commit(store, (add) => layout.enqueue(store, add, id, everybody))
      }
    })
    await store.root.flushed
    const deliveries = CROWD * CROWD_MESSAGES
    say(`${CROWD} sessions`, `${perSecond(deliveries, seconds)}, ${(store.bytes() / deliveries).toFixed(1)} bytes each`)
  })
}

async function withStore(use) {
  const path = mkdtempSync(join(tmpdir(), 'shoalmq-bench-'))
  const root = open({ path, noSubdir: false, maxDbs: 4, eventTurnBatching: false, ...BINARY })
  try {
    const messages = root.openDB({ name: 'messages', ...BINARY })
    const sessionsTable = root.openDB({ name: 'sessions', ...BINARY })
    await use({ root, messages, sessionsTable, bytes: () => statSync(join(path, 'data.mdb')).size })
  } finally {
    await root.close()
    rmSync(path, { recursive: true, force: true })
  }
}

async function commit({ root }, write) {
  const parts = new Set()
  parts.add(root.batch(() => write((part) => parts.add(part))))
  await Promise.all(parts)
}

async function timed(work) {
  const startedAt = performance.now()
  await work()
  return (performance.now() - startedAt) / 1000
}

function append(queues, session, id) {
  const queue = queues.get(session)
  if (queue === undefined) queues.set(session, [id])
  else queue.push(id)
}

function idOf(id) {
  const key = Buffer.allocUnsafe(6)
  key.writeUIntBE(id, 0, 6)
  return key
}

function placeOf(session, id) {
  const key = Buffer.allocUnsafe(10)
  key.writeUInt32BE(session, 0)
  key.writeUIntBE(id, 4, 6)
  return key
}

function perSecond(count, seconds) {
  return `${Math.round(count / seconds / 1000).toLocaleString('en')} k/s`
}

function say(what, figures) {
  console.log(`  ${what.padEnd(20)} ${figures}`)
}

await runScript(main)
