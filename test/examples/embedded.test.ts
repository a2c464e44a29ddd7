import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { clientFor, TestClient } from '../support/client.js'
import { eventually } from '../support/eventually.js'
import { isBuilt } from '../support/node-process.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** A program that has nothing more to do ends at once; a busy machine takes its time to start one. */
const EXIT_TIMEOUT_MS = 20_000

let directory = ''

/** A directory in which `shoalmq` is the package as built, as after `npm install`. */
before(async () => {
  if (!isBuilt()) {
    const build = spawn(process.execPath, [join(ROOT, 'test/support/scripts/build.mjs')], { stdio: 'inherit' })
    assert.deepEqual(await once(build, 'close'), [0, null])
  }
  directory = mkdtempSync(join(tmpdir(), 'shoalmq-example-'))
  mkdirSync(join(directory, 'node_modules/@types'), { recursive: true })
  symlinkSync(ROOT, join(directory, 'node_modules/shoalmq'))
  for (const name of ['ws', 'aedes', '@types/node']) {
    symlinkSync(join(ROOT, 'node_modules', name), join(directory, 'node_modules', name))
  }
})
after(() => rmSync(directory, { recursive: true, force: true }))

interface Running {
  lines: () => string[]
  exited: Promise<number | null>
  stop: () => void
}

function start(parameters: readonly string[], environment: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, parameters, {
    cwd: directory,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), EXIT_TIMEOUT_MS)
  const exited = once(child, 'close').then(([code]) => {
    clearTimeout(timer)
    return code as number | null
  })
  return { lines: () => output.trimEnd().split('\n'), exited, stop: () => child.kill('SIGTERM') }
}

test('the embedded example serves TCP and WebSocket with its hooks, and ends by itself when it is closed', async (t) => {
  cpSync(join(ROOT, 'examples/embedded'), directory, { recursive: true })
  const program = start(['server.js'], { PORT: '0', WS_PORT: '0' })
  t.after(() => program.stop())
  const [, tcpPort = '', wsPort = ''] = await eventually(
    () => {
      const match = /listening on (\d+) and, for WebSocket, on (\d+)/.exec(program.lines().join('\n'))
      assert.ok(match !== null, program.lines().join('\n'))
      return match
    },
    { within: EXIT_TIMEOUT_MS },
  )
  const url = `mqtt://127.0.0.1:${tcpPort}`
  const device = await clientFor(t, url, { version: 4, clientId: 'device', clean: false })
  const browser = await clientFor(t, `ws://127.0.0.1:${wsPort}/`, { version: 5, clientId: 'browser' })
  await browser.subscribe('greetings/+', 1)
  await assert.rejects(browser.subscribe('private/x', 1))
  await device.publish('greetings/world', 'hello', { qos: 2 })
  await eventually(() => assert.deepEqual(browser.payloads(), ['hello!']))
  await assert.rejects(TestClient.connect(url, { version: 4, username: 'mallory', password: 'x' }))
  await eventually(() => assert.equal(program.lines().includes('greetings/world: hello!'), true))
  assert.deepEqual(
    program.lines().filter((line) => line.includes('is here')),
    ['device is here, speaking MQTT 4', 'browser is here, speaking MQTT 5'],
  )
  program.stop()
  assert.equal(await program.exited, 0, program.lines().join('\n'))
  assert.deepEqual(
    program
      .lines()
      .filter((line) => line.includes('is gone'))
      .sort(),
    ['browser is gone', 'device is gone'],
  )
})

test('a program that makes brokers, uses and closes them, ends by itself', async () => {
  writeFileSync(
    join(directory, 'briefly.js'),
    `import { createBroker } from 'shoalmq'
import { duplexPair } from 'node:stream'
const connect = Buffer.from('101000044d5154540400003c0004' + Buffer.from('idle').toString('hex'), 'hex')
for (let count = 0; count < 20; count += 1) {
  const broker = await createBroker()
  const [client, stream] = duplexPair()
  const client_ = broker.handle(stream)
  client.write(connect)
  await new Promise((resolve) => broker.once('clientReady', resolve))
  await new Promise((resolve) => broker.subscribe('#', (packet, done) => done(), resolve))
  await new Promise((resolve) => broker.publish({ cmd: 'publish', topic: 'a', payload: 'b', qos: 1, retain: true, dup: false }, resolve))
  await new Promise((resolve) => broker.close(resolve))
  client.destroy()
  if (!client_.closed || broker.connectedClients !== 0) throw new Error('not closed')
}
console.log('done')
`,
  )
  const program = start(['briefly.js'])
  assert.equal(await program.exited, 0, program.lines().join('\n'))
  assert.deepEqual(program.lines(), ['done'])
})

test("a program written for Aedes' types compiles with the package as built", async () => {
  cpSync(join(ROOT, 'test/contract/aedes/program.ts'), join(directory, 'program.ts'))
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  writeFileSync(
    join(directory, 'main.ts'),
    `import { createServer } from 'node:net'
import type { Aedes as TheirAedes, Client } from 'aedes'
import { Aedes, type Broker, ConfigError, createBroker, type EmbeddedOptions } from 'shoalmq'
import { announce, install, OPTIONS, serve } from './program.js'

const options: EmbeddedOptions = { ...OPTIONS, mqtt: { maximumPacketSize: '256kb', receiveMaximum: 20 } }
const broker: Broker = await createBroker(options)
const aedes: TheirAedes = broker
const lines: string[] = install(broker)
const other: TheirAedes = new Aedes(OPTIONS)
await other.listen()
createServer(broker.handle).on('connection', (socket) => {
  const client: Client = serve(aedes, socket)
  lines.push(client.id)
})
await announce(broker, 'topic', 'payload')
const scraped: string = await (await Aedes.createBroker()).metrics.scrape()
lines.push(scraped, String(ConfigError))
// @ts-expect-error an option that does not exist
await createBroker({ nonsense: true })
// @ts-expect-error a hook with other arguments
broker.authenticate = (client: number) => client
`,
  )
  writeFileSync(
    join(directory, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        ...{ target: 'ES2022', module: 'NodeNext', strict: true, noEmit: true, types: ['node'], skipLibCheck: true },
      },
      include: ['*.ts'],
    }),
  )
  const compiler = start([join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', directory])
  assert.equal(await compiler.exited, 0, compiler.lines().join('\n'))
})
