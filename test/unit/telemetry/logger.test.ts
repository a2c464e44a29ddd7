import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { createLogger } from '../../../src/telemetry/logger.js'

/** Keeps what is written. */
class Kept extends Writable {
  text = ''
  readonly isTTY: boolean

  constructor(isTTY = false) {
    super()
    this.isTTY = isTTY
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString()
    done()
  }

  get lines(): Record<string, unknown>[] {
    return this.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }
}

test('a line is JSON with the node, the fields, the time and the message', () => {
  const kept = new Kept()
  const log = createLogger({ level: 'info', format: 'auto' }, { node: 'n1@host' }, kept)
  log.child({ room: 'cluster' }).info({ peer: 'n2@host' }, 'peer joined')
  const { time, ...line } = kept.lines[0] ?? {}
  assert.deepEqual(line, { level: 30, node: 'n1@host', room: 'cluster', peer: 'n2@host', msg: 'peer joined' })
  assert.equal(new Date(String(time)).toISOString(), time)
})

test('lines below the level are not written', () => {
  const kept = new Kept()
  const log = createLogger({ level: 'warn', format: 'json' }, {}, kept)
  log.info('no')
  log.warn('yes')
  assert.deepEqual(
    kept.lines.map((line) => line.msg),
    ['yes'],
  )
})

test('secrets and passwords are not written, wherever they are', () => {
  const kept = new Kept()
  const log = createLogger({ level: 'info', format: 'json' }, {}, kept)
  log.info({ secret: 'hush', password: 'hush', cluster: { secret: 'hush' }, client: { password: 'hush' } }, 'one')
  log.info({ config: { cluster: { secret: 'hush', name: 'shoalmq' } } }, 'two')
  assert.doesNotMatch(kept.text, /hush/)
  assert.match(kept.text, /shoalmq/)
})

test('a terminal gets lines for people, in colors', () => {
  const kept = new Kept(true)
  const log = createLogger({ level: 'info', format: 'auto' }, { node: 'n1@host' }, kept)
  log.child({ room: 'cluster' }).info({ peer: 'n2@host' }, 'peer joined')
  assert.match(kept.text, /INFO.*cluster: peer joined/)
  assert.equal(kept.text.includes('\u001b['), true)
})

test('pretty without a terminal has no colors, and json on a terminal is JSON', () => {
  const pretty = new Kept()
  createLogger({ level: 'info', format: 'pretty' }, {}, pretty).info('hello')
  assert.match(pretty.text, /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: hello\n$/)
  const json = new Kept(true)
  createLogger({ level: 'info', format: 'json' }, {}, json).info('hello')
  assert.equal(json.lines[0]?.msg, 'hello')
})

for (const format of ['json', 'pretty'] as const) {
  test(`a log whose reader has gone away is given up, and nothing else (${format})`, async () => {
    let writes = 0
    const target = new Writable({
      write(_chunk, _encoding, done) {
        writes += 1
        done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
      },
    })
    const log = createLogger({ level: 'info', format }, {}, target)
    const failed = once(target, 'error')
    log.info('first')
    await failed
    log.info('second')
    log.child({ room: 'cluster' }).info('third')
    assert.equal(writes, 1)
  })
}

test('many loggers that write to one target listen to it once, and all of them survive its loss', () => {
  const kept = new Kept()
  const logs = Array.from({ length: 20 }, () => createLogger({ level: 'info', format: 'json' }, {}, kept))
  assert.equal(kept.listenerCount('error'), 1)
  kept.emit('error', new Error('EPIPE'))
  for (const log of logs) log.info('nobody reads this')
  assert.equal(kept.text, '')
})
