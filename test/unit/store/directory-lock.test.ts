import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { DirectoryLock } from '../../../src/store/directory-lock.js'
import { directoryFor } from './store-bed.js'

/** Takes the lock, says so, and waits to be killed. */
const HOLDER = `
  import { DirectoryLock } from ${JSON.stringify(new URL('../../../src/store/directory-lock.ts', import.meta.url).href)}
  await DirectoryLock.take(process.argv[1])
  process.stdout.write('taken')
  setInterval(() => {}, 1_000)`

describe('the lock of a data directory', () => {
  it('is one process’s until it lets go', async (t) => {
    const directory = join(directoryFor(t), 'new', 'deep')
    const lock = await DirectoryLock.take(directory)
    await assert.rejects(DirectoryLock.take(directory), { code: 'DATA_IN_USE', message: /is used by another process$/ })
    await lock.release()
    await lock.release()
    const again = await DirectoryLock.take(directory)
    await again.release()
    assert.deepEqual(readdirSync(directory), [])
  })

  it('is free again after its process was killed', async (t) => {
    const directory = directoryFor(t)
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', HOLDER, directory])
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    await assert.rejects(DirectoryLock.take(directory), { code: 'DATA_IN_USE' })
    child.kill('SIGKILL')
    await once(child, 'close')
    assert.deepEqual(readdirSync(directory), ['lock.1'], 'what a killed process leaves behind')
    const lock = await DirectoryLock.take(directory)
    assert.deepEqual(readdirSync(directory), ['lock.2'])
    await lock.release()
  })

  it('goes to one of many that find an abandoned one at once', async (t) => {
    const directory = directoryFor(t)
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', HOLDER, directory])
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'close')
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => DirectoryLock.take(directory)))
    const taken = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    assert.equal(taken.length, 1)
    await taken[0]?.release()
  })

  it('works in directories with names longer than a socket can have', async (t) => {
    const directory = join(directoryFor(t), 'd'.repeat(120))
    const lock = await DirectoryLock.take(directory)
    await assert.rejects(DirectoryLock.take(directory), { code: 'DATA_IN_USE' })
    await lock.release()
  })

  it('cannot be taken where there is no directory to be made', async (t) => {
    const directory = directoryFor(t)
    writeFileSync(join(directory, 'file'), '')
    const below = join(directory, 'file', 'data')
    await assert.rejects(DirectoryLock.take(below), { code: 'DATA_UNUSABLE', message: /cannot be opened/ })
    await assert.rejects(DirectoryLock.take('/proc/nowhere'), { code: 'DATA_UNUSABLE' })
  })

  it('cannot be taken in a directory that may not be written', async (t) => {
    const directory = join(directoryFor(t), 'read-only')
    mkdirSync(directory)
    chmodSync(directory, 0o500)
    // Root may write everywhere but here.
    const place = process.getuid?.() === 0 ? '/sys/kernel' : directory
    await assert.rejects(DirectoryLock.take(place), { code: 'DATA_UNUSABLE', message: /cannot be (locked|opened)/ })
  })
})
