import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { DEFAULTS } from '../../../src/config/options.js'
import { Node } from '../../../src/node.js'
import { createLogger } from '../../../src/telemetry/logger.js'
import { eventually } from '../../support/eventually.js'
import { freePort } from '../../support/free-port.js'
import { type CommandOptions, type RunningCommand, runShoalmq, startShoalmq } from './shoalmq-process.js'

const START = { within: 20_000 }

let node: Node
let directory: string
let port: string
let webSocketPort: string

function nodeAt(mqttPort: number): Node {
  const config = {
    ...DEFAULTS,
    data: directory,
    listen: [`mqtt://127.0.0.1:${mqttPort}`, 'ws://127.0.0.1:0/mqtt'],
    admin: { listen: '127.0.0.1:0' },
    cluster: { ...DEFAULTS.cluster, listen: '' },
    mqtt: { ...DEFAULTS.mqtt, maximumSubscriptions: 2 },
  }
  return new Node(config, { log: createLogger({ level: 'silent', format: 'json' }, {}) })
}

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'shoalmq-pub-sub-'))
  node = nodeAt(await freePort())
  await node.start()
  const ports = node.listening.map((address) => new URL(address).port)
  port = ports[0] ?? ''
  webSocketPort = ports[1] ?? ''
})

after(async () => {
  await node.stop()
  rmSync(directory, { recursive: true })
})

function pub(...parameters: string[]) {
  return runShoalmq(['pub', '-h', '127.0.0.1', '-p', port, ...parameters])
}

function pubFrom(input: string, ...parameters: string[]) {
  const options: CommandOptions = { input }
  return runShoalmq(['pub', '-h', '127.0.0.1', '-p', port, ...parameters], options)
}

/** `sub` once it is subscribed, which its trace tells. */
async function subscribed(context: TestContext, ...parameters: string[]): Promise<RunningCommand> {
  const command = startShoalmq(['sub', '-h', '127.0.0.1', '-p', port, '-d', ...parameters])
  context.after(() => command.signal('SIGKILL'))
  await eventually(() => assert.match(command.output.stderr, /received SUBACK/), START)
  return command
}

test('what is published arrives, with the topic when asked for, and -C ends it', async (context) => {
  const sub = await subscribed(context, '-t', 'one/#', '-t', 'two', '-v', '-C', '3', '-q', '2')
  for (const qos of ['0', '1', '2']) {
    const topic = qos === '2' ? 'two' : 'one/a'
    assert.deepEqual(await pub('-t', topic, '-m', `QoS ${qos}`, '-q', qos), { code: 0, stdout: '', stderr: '' })
  }
  const { code, stdout } = await sub.ended
  assert.deepEqual([code, stdout], [0, 'one/a QoS 0\none/a QoS 1\ntwo QoS 2\n'])
})

test('every protocol version publishes and subscribes, and WebSocket does too', async (context) => {
  const expected = ['mqttv31', 'mqttv311', 'mqttv5', 'websocket']
  const sub = await subscribed(context, '-t', 'versions', '-C', String(expected.length), '-V', '5')
  for (const version of expected.slice(0, 3)) await pub('-t', 'versions', '-m', version, '-V', version, '-q', '1')
  const { code } = await runShoalmq([
    'pub',
    '-L',
    `ws://127.0.0.1:${webSocketPort}/mqtt`,
    '-t',
    'versions',
    '-m',
    'websocket',
  ])
  assert.equal(code, 0)
  assert.deepEqual((await sub.ended).stdout.trim().split('\n'), expected)
})

test('-l publishes the lines of standard input in order, -s all of it, -f a file, -n nothing', async (context) => {
  const lines = Array.from({ length: 500 }, (_, index) => `line ${index}`)
  const sub = await subscribed(context, '-t', 'inputs', '-C', String(lines.length + 3), '-q', '1')
  assert.equal((await pubFrom(`${lines.join('\n')}\n`, '-t', 'inputs', '-l', '-q', '1')).code, 0)
  assert.equal((await pubFrom('all of it', '-t', 'inputs', '-s')).code, 0)
  const file = join(directory, 'payload')
  writeFileSync(file, 'from a file')
  assert.equal((await pub('-t', 'inputs', '-f', file)).code, 0)
  assert.equal((await pub('-t', 'inputs', '-n')).code, 0)
  assert.equal((await sub.ended).stdout, `${lines.join('\n')}\nall of it\nfrom a file\n\n`)
})

test('a retained message is there for whoever comes later, unless -R says otherwise', async (context) => {
  assert.equal((await pub('-t', 'kept', '-m', 'still here', '-r', '-q', '1')).code, 0)
  const late = await runShoalmq(['sub', '-L', `mqtt://127.0.0.1:${port}/kept`, '-C', '1'])
  assert.deepEqual([late.code, late.stdout], [0, 'still here\n'])
  const fresh = await subscribed(context, '-t', 'kept', '-R', '-C', '1')
  await pub('-t', 'kept', '-m', 'new')
  assert.equal((await fresh.ended).stdout, 'new\n')
})

test('Ctrl-C ends sub cleanly, with a DISCONNECT', async (context) => {
  const sub = await subscribed(context, '-t', 'quiet')
  sub.signal('SIGINT')
  const { code, stdout, stderr } = await sub.ended
  assert.deepEqual([code, stdout], [0, ''])
  assert.match(stderr, /sent DISCONNECT\n$/)
})

test('-W ends sub with the exit code of mosquitto_sub', async () => {
  const { code } = await runShoalmq(['sub', '-h', '127.0.0.1', '-p', port, '-t', 'nothing', '-W', '1'])
  assert.equal(code, 27)
})

test('a refused subscription is one line and exit code 1', async () => {
  const address = ['-h', '127.0.0.1', '-p', port]
  for (const version of ['311', '5']) {
    const { code, stdout, stderr } = await runShoalmq([
      'sub',
      ...address,
      '-V',
      version,
      '-t',
      'a',
      '-t',
      'b',
      '-t',
      'c',
    ])
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(stderr, new RegExp(`^shoalmq: 127\\.0\\.0\\.1:${port} refuses the subscription of [^\n]*\n$`))
  }
})

test('a persistent session of sub -c gets what was published while it was away', async () => {
  const session = ['-i', 'keeper', '-c', '-t', 'away', '-q', '1']
  assert.equal((await runShoalmq(['sub', '-h', '127.0.0.1', '-p', port, ...session, '-E'])).code, 0)
  await pub('-t', 'away', '-m', 'missed you', '-q', '1')
  const back = await runShoalmq(['sub', '-h', '127.0.0.1', '-p', port, ...session, '-C', '1'])
  assert.deepEqual([back.code, back.stdout], [0, 'missed you\n'])
})

test('sub dials again when its node goes away, and goes on when the node is back', async (context) => {
  const sub = await subscribed(context, '-t', 'again', '-C', '2')
  await pub('-t', 'again', '-m', 'before')
  await eventually(() => assert.equal(sub.output.stdout, 'before\n'), START)
  await node.stop()
  await eventually(() => assert.match(sub.output.stderr, /is lost, dialing again\n/), START)
  node = nodeAt(Number(port))
  await node.start()
  await eventually(() => assert.match(sub.output.stderr, /again\n(.*\n)*received SUBACK/), START)
  await pub('-t', 'again', '-m', 'after')
  const { code, stdout } = await sub.ended
  assert.deepEqual([code, stdout], [0, 'before\nafter\n'])
})
