import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../support/eventually.js'
import { freePort } from '../../support/free-port.js'
import { type RunningCommand, runShoalmq, startShoalmq } from './shoalmq-process.js'

const ANY_PORTS = ['--listen', 'mqtt://127.0.0.1:0', '--admin', '127.0.0.1:0', '--cluster', 'off']
const START = { within: 20_000 }

interface ServingLine {
  msg: string
  node: string
  version: string
  listeners: string[]
  admin: string
  incarnation: number
}

function directoryFor(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-start-'))
  context.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** The line of a node that serves. */
function serving(command: RunningCommand): Promise<ServingLine> {
  return eventually(() => {
    const lines = command.output.stdout.split('\n').filter((line) => line.endsWith('}'))
    const line = lines.map((text) => JSON.parse(text) as ServingLine).find(({ msg }) => msg === 'serving')
    assert(line !== undefined, `not serving: ${command.output.stdout}${command.output.stderr}`)
    return line
  }, START)
}

test('a node says in one line what it serves, and SIGTERM ends it with exit code 0', async (context) => {
  const command = startShoalmq(['start', '--name', 'n7@127.0.0.1', '--data', directoryFor(context), ...ANY_PORTS])
  context.after(() => command.signal('SIGKILL'))
  const line = await serving(command)
  assert.equal(line.node, 'n7@127.0.0.1')
  assert.match(line.listeners.join(), /^mqtt:\/\/127\.0\.0\.1:[1-9]\d*$/)
  assert.equal((await fetch(`http://${line.admin}/readyz`)).status, 200)
  command.signal('SIGTERM')
  const { code, stderr } = await command.ended
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(command.output.stdout, /"signal":"SIGTERM","msg":"stopping"/)
  assert.match(command.output.stdout, /"msg":"stopped"/)
})

test('Ctrl-C that comes again and again, as under npm, is one clean end', async (context) => {
  const command = startShoalmq(['start', '--data', directoryFor(context), ...ANY_PORTS])
  context.after(() => command.signal('SIGKILL'))
  await serving(command)
  // Until the process is gone, also after it has said that it stopped.
  const repeat = setInterval(() => command.signal('SIGINT'), 1)
  context.after(() => clearInterval(repeat))
  assert.deepEqual(await command.ended, { code: 0, stdout: command.output.stdout, stderr: '' })
  assert.match(command.output.stdout, /"msg":"stopped"/)
})

test('each start is a new incarnation of the same node', async (context) => {
  const data = directoryFor(context)
  const incarnations: number[] = []
  for (let start = 0; start < 2; start += 1) {
    const command = startShoalmq(['start', '--data', data, ...ANY_PORTS])
    context.after(() => command.signal('SIGKILL'))
    incarnations.push((await serving(command)).incarnation)
    command.signal('SIGTERM')
    await command.ended
  }
  assert(Number(incarnations[1]) > Number(incarnations[0]), incarnations.join(' '))
})

test('a taken port is one line that names port and listener, with exit code 1', async (context) => {
  const port = await freePort()
  const other = createServer().listen(port, '127.0.0.1')
  context.after(() => other.close())
  const { code, stdout } = await runShoalmq([
    ...['start', '--data', directoryFor(context), '--cluster', 'off', '--admin', '127.0.0.1:0'],
    ...['--listen', `mqtt://127.0.0.1:${port}`],
  ])
  assert.equal(code, 1)
  const lines = stdout.trim().split('\n')
  assert.equal(lines.length, 1, stdout)
  const { level, msg } = JSON.parse(lines[0] ?? '') as { level: number; msg: string }
  assert.deepEqual([level, msg], [60, `port ${port} (listener mqtt://127.0.0.1:${port}) is already in use`])
})

test('a data directory that cannot be made, or is of another node, is one line with exit code 1', async (context) => {
  const unusable = await runShoalmq(['start', '--data', '/dev/null/data', ...ANY_PORTS])
  assert.equal(unusable.code, 1)
  assert.match(unusable.stdout, /"msg":"data directory \/dev\/null\/data cannot be/)

  const data = directoryFor(context)
  const command = startShoalmq(['start', '--name', 'n1@127.0.0.1', '--data', data, ...ANY_PORTS])
  context.after(() => command.signal('SIGKILL'))
  await serving(command)
  command.signal('SIGTERM')
  await command.ended
  const foreign = await runShoalmq(['start', '--name', 'n2@127.0.0.1', '--data', data, ...ANY_PORTS])
  assert.equal(foreign.code, 1)
  assert.match(foreign.stdout, /belongs to node n1@127\.0\.0\.1, not to n2@127\.0\.0\.1/)
})
