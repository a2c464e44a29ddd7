import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { open } from 'lmdb'
import { describeDamage, describeShelves, describeStore, OpenTable, untilReleased } from '../../contract/store.js'
import { CountingHold } from '../mqtt/session/recording-outlet.js'
import { type EmbeddedLife, embeddedBed, openEmbedded } from './store-bed.js'

for (const durability of ['commit', 'fsync'] as const) {
  describeStore(`embedded (${durability})`, (context) => embeddedBed(context, durability))
  describeDamage(`embedded (${durability})`, (context) => embeddedBed(context, durability))
  describeShelves(`embedded (${durability})`, (context) => embeddedBed(context, durability))
}

/** A store with something in it that is not open, and its data file. */
async function closedStore(context: TestContext): Promise<{ directory: string; file: string }> {
  const bed = embeddedBed(context, 'commit')
  const first = await OpenTable.open(bed)
  await untilReleased(...Array.from({ length: 2_000 }, (_, count) => first.set(`key ${count}`, 'x'.repeat(100))))
  await first.life.stop()
  return { directory: bed.directory, file: join(bed.directory, 'store', 'data.mdb') }
}

async function writeSchema(directory: string, version: number): Promise<void> {
  const path = join(directory, 'store')
  const root = open<Buffer, Buffer>({ path, noSubdir: false, encoding: 'binary', keyEncoding: 'binary' })
  await root.put(Buffer.from('schema'), Buffer.from([0, 0, 0, version]))
  await root.close()
}

/** Megabytes of files that this process has in its memory. */
function fileMemory(): number {
  return Number(/RssFile:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
}

describe('the embedded store', () => {
  it('commits what many turns bring while a commit is on its way as one transaction', async (t) => {
    const bed = embeddedBed(t, 'commit')
    const first = await OpenTable.open(bed)
    const { metrics } = first.life as EmbeddedLife
    const before = metrics.commits.value
    const holds = []
    for (let turn = 0; turn < 200; turn += 1) {
      holds.push(first.set(`key ${turn}`, 'x'))
      await new Promise(setImmediate)
    }
    await untilReleased(...holds)
    assert.equal(metrics.entries.value, 200)
    assert.ok(metrics.commits.value - before <= 200)
    await first.life.stop()
  })

  it('says that a file which is cut off, garbage or empty is damaged', { timeout: 30_000 }, async (t) => {
    const { directory, file } = await closedStore(t)
    const good = readFileSync(file)
    const damages: [what: string, damage: () => void][] = [
      ['is damaged: ', () => truncateSync(file, good.length >> 2)],
      ['is damaged: ', () => writeFileSync(file, Buffer.concat([good.subarray(0, 8_192)]))],
      ['does not begin as one', () => writeFileSync(file, Buffer.alloc(good.length, 7))],
      ['does not begin as one', () => writeFileSync(file, Buffer.concat([good.subarray(0, 100)]))],
      ['is empty', () => writeFileSync(file, '')],
    ]
    for (const [what, damage] of damages) {
      damage()
      const opened = OpenTable.open({ open: () => openEmbedded(directory) })
      await assert.rejects(opened, { code: 'STORE_DAMAGED', message: new RegExp(what) }, what)
    }
    writeFileSync(file, good)
    const again = await OpenTable.open({ open: () => openEmbedded(directory) })
    assert.equal(again.table.entries.size, 2_000)
    await again.life.stop()
  })

  it('does not read what another version has written', async (t) => {
    const { directory } = await closedStore(t)
    await writeSchema(directory, 3)
    await assert.rejects(openEmbedded(directory), { code: 'STORE_NEWER', message: /has version 3; .* reads 2$/ })
    await writeSchema(directory, 1)
    await assert.rejects(openEmbedded(directory), { code: 'STORE_OLDER', message: /has version 1; .* reads 2$/ })
  })

  it('has not the pages of a large file in memory once it is loaded, and keeps what comes meanwhile', async (t) => {
    const bed = embeddedBed(t, 'commit')
    const first = await OpenTable.open(bed)
    const keys = Array.from({ length: 24 }, (_, count) => `key ${count}`)
    await untilReleased(...keys.map((key) => first.set(key, 'x'.repeat(1024 * 1024))))
    await first.life.stop()

    const before = fileMemory()
    const second = await bed.open()
    const late: CountingHold[] = []
    const entries = new Map<string, Buffer>()
    const table = second.store.table('words', {
      read: (key) => entries.get(key),
      restore: (key) => {
        // Much shorter, by a commit that begins while the store is loaded.
        entries.set(key, Buffer.from(`late ${key}`))
        const hold = new CountingHold()
        late.push(hold)
        table.changed(key, hold)
        hold.release()
      },
    })
    await second.load()
    assert.ok(fileMemory() - before < 12, `${fileMemory() - before} MB more of files`)
    await untilReleased(...late)
    assert.equal(late.length, keys.length)
    await second.stop()

    const third = await OpenTable.open(bed)
    assert.deepEqual(third.table.content(), keys.map((key): [string, string] => [key, `late ${key}`]).sort())
    await untilReleased(third.set('one more', 'kept'))
    await third.life.stop()
  })

  it('says so when its directory cannot be made or is a file', async (t) => {
    const { directory } = embeddedBed(t, 'commit')
    writeFileSync(join(directory, 'store'), 'a file')
    await assert.rejects(openEmbedded(directory), { code: 'DATA_UNUSABLE', message: /cannot be opened as a store/ })
    await assert.rejects(openEmbedded('/proc/nowhere'), {
      code: 'DATA_UNUSABLE',
      message: /cannot be opened as a store/,
    })
  })

  it('refuses who waits when the disk is full, keeps what it had, and goes on when there is room', () => {
    // A disk of two megabytes, in a mount namespace of its own.
    const script = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" --import tsx "$3" "$1"'
    const program = new URL('./full-disk.ts', import.meta.url).pathname
    const { status, stdout, stderr } = spawnSync(
      'unshare',
      ['--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh', '/mnt', process.execPath, program],
      { encoding: 'utf8', timeout: 60_000 },
    )
    assert.equal(status, 0, stderr)
    assert.deepEqual(JSON.parse(stdout), {
      refusedWasTold: true,
      failingWhenFull: true,
      loggedErrors: 1,
      reason: { full: true, error: 0 },
      alarm: ['store_failing'],
      keptThroughout: true,
      recovered: true,
      lateIsKept: true,
      dueIsKept: true,
    })
  })
})
