import assert from 'node:assert/strict'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, type TestContext, test } from 'node:test'
import { FileWatch } from '../../../src/util/file-watch.js'
import { eventually } from '../../support/eventually.js'

describe('a file watch', () => {
  let directory: string
  let changes: string[]
  let looks: number

  beforeEach((context) => {
    directory = mkdtempSync(join(tmpdir(), 'shoalmq-watch-'))
    ;(context as TestContext).after(() => rmSync(directory, { recursive: true }))
    changes = []
    looks = 0
  })

  async function watch(context: TestContext, paths: readonly string[]): Promise<void> {
    const watch = new FileWatch(
      { paths, interval: 5 },
      {
        onChange: () => {
          looks += 1
          changes.push(paths.map(contentOf).join())
        },
        onError: (error) => changes.push(error.message),
      },
    )
    context.after(() => watch.stop())
    await watch.start()
  }

  function contentOf(path: string): string {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      return 'gone'
    }
  }

  test('tells of a file that is written, replaced, removed and made again', async (context) => {
    const path = join(directory, 'file')
    writeFileSync(path, 'one')
    await watch(context, [path])
    writeFileSync(path, 'two')
    await eventually(() => assert.equal(changes.at(-1), 'two'))
    writeFileSync(join(directory, 'next'), 'three')
    renameSync(join(directory, 'next'), path)
    await eventually(() => assert.equal(changes.at(-1), 'three'))
    rmSync(path)
    await eventually(() => assert.equal(changes.at(-1), 'gone'))
    writeFileSync(path, 'four')
    await eventually(() => assert.equal(changes.at(-1), 'four'))
  })

  test('tells of a Kubernetes Secret, whose files change by a symlink above them', async (context) => {
    for (const [version, content] of [
      ['v1', 'old'],
      ['v2', 'new'],
    ] as const) {
      mkdirSync(join(directory, version))
      writeFileSync(join(directory, version, 'tls.crt'), `${content} certificate`)
      writeFileSync(join(directory, version, 'tls.key'), `${content} key`)
    }
    symlinkSync('v1', join(directory, '..data'))
    for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('..data', name), join(directory, name))
    await watch(context, [join(directory, 'tls.crt'), join(directory, 'tls.key')])
    symlinkSync('v2', join(directory, '..data_tmp'))
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'))
    await eventually(() => assert.deepEqual(changes, ['new certificate,new key']))
  })

  test('does not tell of a file that was only touched', async (context) => {
    const [touched, written] = [join(directory, 'touched'), join(directory, 'written')]
    writeFileSync(touched, 'same')
    writeFileSync(written, 'one')
    await watch(context, [touched, written])
    utimesSync(touched, 1, 1)
    writeFileSync(touched, 'same')
    // A look that sees this has seen the other too.
    writeFileSync(written, 'two')
    await eventually(() => assert.equal(changes.at(-1), 'same,two'))
    assert.equal(looks, 1)
  })
})
