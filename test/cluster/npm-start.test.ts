import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { eventually } from '../support/eventually.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SCRIPT = join(ROOT, 'test/support/scripts/start-cluster.mjs')
const CLI = join(ROOT, 'dist/cli/cli.js')
const LABELS = ['n1', 'n2', 'n3'] as const

/** It builds, if that is not done yet, and three nodes start on few cores. */
const STARTED_WITHIN_MS = 120_000
const ENDED_WITHIN_MS = 60_000

/** A process and what it has printed. */
class Running {
  output = ''
  readonly ended: Promise<number | null>

  constructor(readonly process: ChildProcess) {
    for (const stream of [process.stdout, process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    }
    this.ended = once(process, 'close').then(([code]) => code as number | null)
  }
}

function run(context: TestContext, command: string, ...parameters: string[]): Running {
  const running = new Running(spawn(command, parameters, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] }))
  context.after(async () => {
    running.process.kill('SIGTERM')
    await running.ended
  })
  return running
}

/** On a network of its own, where its ports are free, and with a directory of the test in the place of `data`. */
function startCluster(context: TestContext, data: string): Running {
  mkdirSync(join(ROOT, 'data'), { recursive: true })
  const script = 'ip link set lo up && mount --bind "$1" data && exec "$2" "$3"'
  const namespaces = ['--user', '--map-root-user', '--net', '--mount']
  return run(context, 'unshare', ...namespaces, 'sh', '-c', script, 'sh', data, process.execPath, SCRIPT)
}

/** A command as somebody beside that cluster gives it. */
function beside(cluster: Running, context: TestContext, ...parameters: string[]): Running {
  const where = ['--target', `${cluster.process.pid}`, '--user', '--net', '--preserve-credentials']
  return run(context, 'nsenter', ...where, process.execPath, CLI, ...parameters)
}

async function started(cluster: Running): Promise<void> {
  const isStarted = () => cluster.output.includes('Ctrl-C stops all.')
  await Promise.race([
    eventually(() => assert.equal(isStarted(), true, cluster.output), { within: STARTED_WITHIN_MS, every: 100 }),
    cluster.ended.then((code) => assert.fail(`it has ended with ${code}\n${cluster.output}`)),
  ])
}

function identities(data: string): { name: string; incarnation: number }[] {
  return LABELS.map((label) => JSON.parse(readFileSync(join(data, label, 'node.json'), 'utf8')))
}

test('npm start runs three nodes that are one cluster, says what to try, stops cleanly, and runs the same nodes again', {
  timeout: 2 * (STARTED_WITHIN_MS + ENDED_WITHIN_MS),
}, async (t) => {
  const data = mkdtempSync(join(tmpdir(), 'shoalmq-npm-start-'))
  t.after(() => rmSync(data, { recursive: true, force: true }))
  const first = startCluster(t, data)
  await started(first)
  for (const label of LABELS) assert.match(first.output, new RegExp(`^${label}@127\\.0\\.0\\.1 +running`, 'm'))
  const [, subscribe = '', publish = ''] =
    /^ {2}npx shoalmq (sub .*)\n {2}npx shoalmq (pub .*)$/m.exec(first.output) ?? assert.fail(first.output)
  const words = (line: string) => line.split(' ').map((word) => word.replaceAll("'", ''))
  const subscriber = beside(first, t, ...words(subscribe))
  await eventually(
    async () => {
      assert.equal(await beside(first, t, ...words(publish)).ended, 0)
      assert.match(subscriber.output, /^hello\/world hi$/m)
    },
    { within: 30_000 },
  )
  subscriber.process.kill('SIGTERM')
  await subscriber.ended
  first.process.kill('SIGINT')
  assert.equal(await first.ended, 0, first.output)
  const before = identities(data)
  assert.deepEqual(
    before.map(({ name }) => name),
    LABELS.map((label) => `${label}@127.0.0.1`),
  )

  const second = startCluster(t, data)
  await started(second)
  second.process.kill('SIGINT')
  assert.equal(await second.ended, 0, second.output)
  const after = identities(data)
  for (const [index, { name, incarnation }] of after.entries()) {
    assert.equal(name, before[index]?.name)
    assert.ok(incarnation > (before[index]?.incarnation ?? Number.POSITIVE_INFINITY), `${name} has a new incarnation`)
  }
})

test('npm start names every port that is taken, and starts nothing', async (t) => {
  for (const port of [1884, 18085]) {
    const server = createServer()
    t.after(() => server.close())
    // Where somebody else has it, it is as good.
    await new Promise((resolve) => server.once('error', resolve).listen(port, '127.0.0.1', () => resolve(undefined)))
  }
  const cluster = run(t, process.execPath, SCRIPT)
  assert.notEqual(await cluster.ended, 0)
  assert.match(cluster.output, /port 1884 \(MQTT of n2\) is already in use/)
  assert.match(cluster.output, /port 18085 \(admin of n3\) is already in use/)
  assert.doesNotMatch(cluster.output, /\n {4}at /, 'a message for people, without a stack')
})
