import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, type TestContext, test } from 'node:test'
import { ListenError } from '../../../../src/mqtt/listener/bind.js'
import { eventually } from '../../../support/eventually.js'
import { listenFor, TestListener } from './test-listener.js'

describe('a Unix domain socket', () => {
  let path: string
  let url: string

  beforeEach((context) => {
    const directory = mkdtempSync(join(tmpdir(), 'shoalmq-unix-'))
    ;(context as TestContext).after(() => rmSync(directory, { recursive: true }))
    path = join(directory, 'mqtt.sock')
    url = `unix://${path}`
  })

  test('is listened on with the permissions that were asked for, and gone at the end', async (context) => {
    const listener = await listenFor(context, { url, socketMode: '600' })
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.equal(listener.listener.address, url)
    const client = connect(path)
    context.after(() => client.destroy())
    client.write('hello')
    await eventually(() => assert.equal(listener.entered[0]?.received, 'hello'))
    assert.deepEqual([listener.entered[0]?.origin.listener, listener.entered[0]?.origin.remoteAddress], [url, ''])
    await listener.stop()
    assert.equal(existsSync(path), false)
  })

  test('that a dead process has left is replaced', async (context) => {
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('listening'))`
    const other = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    context.after(() => other.kill('SIGKILL'))
    await once(other.stdout, 'data')
    other.kill('SIGKILL')
    await once(other, 'close')
    assert.equal(statSync(path).isSocket(), true)
    const listener = await listenFor(context, url)
    const client = connect(path)
    context.after(() => client.destroy())
    await eventually(() => assert.equal(listener.entered.length, 1))
  })

  test('that is in use is an error in one line, and stays with whom it belongs to', async (context) => {
    const first = await listenFor(context, url)
    const second = new TestListener({ url }, {})
    context.after(() => second.stop())
    await assert.rejects(second.listener.start(), (error) => {
      assert(error instanceof ListenError)
      assert.equal(error.message, `socket ${path} (listener ${url}) is already in use`)
      assert.equal(error.details.code, 'PATH_TAKEN')
      return true
    })
    const client = connect(path)
    context.after(() => client.destroy())
    await eventually(() => assert.equal(first.entered.length, 1))
  })

  test('is not made where another kind of file is', async (context) => {
    writeFileSync(path, 'keep me')
    const listener = new TestListener({ url }, {})
    context.after(() => listener.stop())
    await assert.rejects(listener.listener.start(), /is already in use/)
    assert.equal(statSync(path).isFile(), true)
  })

  test('is not made where there is no directory', async (context) => {
    const listener = new TestListener({ url: `unix://${path}/x/mqtt.sock` }, {})
    context.after(() => listener.stop())
    await assert.rejects(listener.listener.start(), (error) => {
      assert(error instanceof ListenError)
      assert.equal(error.details.code, 'PATH_UNAVAILABLE')
      return true
    })
  })
})
