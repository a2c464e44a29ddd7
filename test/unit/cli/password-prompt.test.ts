import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { verifyPassword } from '../../../src/access/password-hash.js'
import { parseUsers } from '../../../src/access/users-file.js'
import { eventually } from '../../support/eventually.js'
import { shoalmqCommand } from '../../support/node-process.js'
import { temporaryFile } from '../../support/temporary-file.js'

/** `passwd add` at a terminal: `script` of util-linux is the one who types. */
class Terminal {
  screen = ''
  private readonly ended: Promise<unknown[]>

  constructor(
    context: TestContext,
    private readonly child: ChildProcess,
  ) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.screen += text
    })
    this.ended = once(child, 'close')
    context.after(() => child.kill('SIGKILL'))
  }

  static open(context: TestContext, command: readonly string[]): Terminal {
    const quoted = command.map((word) => `'${word}'`).join(' ')
    return new Terminal(context, spawn('script', ['-qefc', quoted, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] }))
  }

  async type(prompt: string, keys: string): Promise<void> {
    await eventually(() => assert.ok(this.screen.endsWith(prompt), this.screen), { within: 20_000 })
    this.child.stdin?.write(keys)
  }

  async exitCode(): Promise<number> {
    const [code] = await this.ended
    return code as number
  }
}

function open(context: TestContext, file: string): Terminal {
  const command = ['passwd', 'add', '--file', file, '--cost', '10', '--scram-iterations', '4096', 'alice']
  return Terminal.open(context, [...shoalmqCommand(), ...command])
}

test('a password is typed twice at a terminal, corrected, and never shown', async (t) => {
  const file = temporaryFile('users', '')
  const terminal = open(t, file)
  await terminal.type('Password: ', 'hudx\u007fh\r')
  await terminal.type('Again: ', 'hudh\r')
  assert.equal(await terminal.exitCode(), 0)
  assert.equal(terminal.screen, `Password: \r\nAgain: \r\nuser alice added to ${file}\r\n`)
  const user = parseUsers(readFileSync(file, 'utf8'), file).get('alice')
  assert.ok(user !== undefined)
  assert.equal(await verifyPassword(Buffer.from('hudh'), user.password), true)
})

test('two passwords that differ, and Ctrl-C, change nothing', async (t) => {
  const file = temporaryFile('users', '')
  const differing = open(t, file)
  await differing.type('Password: ', 'one\r')
  await differing.type('Again: ', 'two\r')
  assert.equal(await differing.exitCode(), 1)
  assert.match(differing.screen, /the two passwords differ/)
  const cancelled = open(t, file)
  await cancelled.type('Password: ', 'on\u0003')
  assert.equal(await cancelled.exitCode(), 1)
  assert.match(cancelled.screen, /cancelled/)
  assert.equal(readFileSync(file, 'utf8'), '')
})
