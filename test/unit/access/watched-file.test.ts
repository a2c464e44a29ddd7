import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { AccessFileError } from '../../../src/access/access-file.js'
import { WatchedFile } from '../../../src/access/watched-file.js'
import { eventually } from '../../support/eventually.js'

const INTERVAL_MS = 20

function directoryFor(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-watched-'))
  context.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A watched file that refuses contents that begin with `bad`. */
async function watch(context: TestContext, path: string) {
  const applied: string[] = []
  const refused: string[] = []
  const file = new WatchedFile(
    { path, interval: INTERVAL_MS },
    {
      apply(text) {
        if (text.startsWith('bad')) throw AccessFileError.invalid(path, [{ line: 1, message: text }])
        applied.push(text)
      },
      refuse: (error) => refused.push(error instanceof AccessFileError ? error.details.code : String(error)),
    },
  )
  context.after(() => file.stop())
  await file.start()
  return { file, applied, refused }
}

function becomes(actual: readonly string[], expected: readonly string[]): Promise<void> {
  return eventually(() => assert.deepEqual(actual, expected), { within: 5_000 })
}

test('a file that is written in place is read again', async (t) => {
  const path = join(directoryFor(t), 'file')
  writeFileSync(path, 'one')
  const { applied } = await watch(t, path)
  writeFileSync(path, 'two, longer')
  await becomes(applied, ['one', 'two, longer'])
})

test('a file that another one is renamed over is read again, however often', async (t) => {
  const path = join(directoryFor(t), 'file')
  writeFileSync(path, '0')
  const { applied } = await watch(t, path)
  for (let count = 1; count <= 3; count++) {
    writeFileSync(`${path}.new`, `${count}`)
    renameSync(`${path}.new`, path)
    await becomes(
      applied,
      Array.from({ length: count + 1 }, (_, index) => `${index}`),
    )
  }
})

test('the symlinks that Kubernetes turns under a mounted Secret are followed', async (t) => {
  const directory = directoryFor(t)
  const publish = (revision: string, content: string): void => {
    mkdirSync(join(directory, revision))
    writeFileSync(join(directory, revision, 'users'), content)
    symlinkSync(revision, join(directory, '..data_tmp'))
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
  }
  publish('..1', 'one')
  symlinkSync(join('..data', 'users'), join(directory, 'users'))
  const { applied } = await watch(t, join(directory, 'users'))
  publish('..2', 'two')
  rmSync(join(directory, '..1'), { recursive: true })
  await becomes(applied, ['one', 'two'])
})

test('a bad content is told once and leaves the file stale until a good one comes', async (t) => {
  const path = join(directoryFor(t), 'file')
  writeFileSync(path, 'one')
  const { file, applied, refused } = await watch(t, path)
  assert.equal(file.isStale, false)
  writeFileSync(path, 'bad one')
  await becomes(refused, ['ACCESS_FILE_INVALID'])
  assert.equal(file.isStale, true)
  writeFileSync(path, 'bad two')
  await becomes(refused, ['ACCESS_FILE_INVALID', 'ACCESS_FILE_INVALID'])
  writeFileSync(path, 'three')
  await becomes(applied, ['one', 'three'])
  assert.equal(file.isStale, false)
  assert.equal(refused.length, 2)
})

test('a file that is gone is told once, and read when it is back', async (t) => {
  const path = join(directoryFor(t), 'file')
  writeFileSync(path, 'one')
  const { file, applied, refused } = await watch(t, path)
  unlinkSync(path)
  await becomes(refused, ['ACCESS_FILE_UNREADABLE'])
  assert.equal(file.isStale, true)
  writeFileSync(path, 'two')
  await becomes(applied, ['one', 'two'])
  assert.equal(refused.length, 1)
})

test('a file that is not there, or bad, at the start is an error', async (t) => {
  const path = join(directoryFor(t), 'file')
  await assert.rejects(watch(t, path), { name: 'NodeError', code: 'ACCESS_FILE_UNREADABLE' })
  writeFileSync(path, 'bad')
  await assert.rejects(watch(t, path), { name: 'NodeError', code: 'ACCESS_FILE_INVALID' })
})

test('a file that has not changed is not applied again', async (t) => {
  const directory = directoryFor(t)
  const path = join(directory, 'file')
  const other = join(directory, 'other')
  writeFileSync(path, 'one')
  writeFileSync(other, 'one')
  const still = await watch(t, path)
  const moving = await watch(t, other)
  // As many looks as it takes the other file to be read three times more.
  for (const text of ['two', 'three', 'four']) {
    writeFileSync(other, text)
    await eventually(() => assert.equal(moving.applied.at(-1), text), { within: 5_000 })
  }
  assert.deepEqual([still.applied, still.refused], [['one'], []])
})
