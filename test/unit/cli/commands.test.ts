import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { loadConfig } from '../../../src/config/load.js'
import { DEFAULTS } from '../../../src/config/options.js'
import { freePort } from '../../support/free-port.js'
import { runShoalmq } from './shoalmq-process.js'

function fileOf(context: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-cli-'))
  context.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'shoalmq.yaml')
  writeFileSync(path, text)
  return path
}

test('version is that of package.json', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  assert.deepEqual(await runShoalmq(['version']), { code: 0, stdout: `${version}\n`, stderr: '' })
  assert.deepEqual(await runShoalmq(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('--help lists the commands and the exit codes', async () => {
  const { code, stdout } = await runShoalmq(['--help'])
  assert.equal(code, 0)
  for (const word of [
    'start',
    'cluster',
    'config',
    'passwd',
    'acl',
    'pub',
    'sub',
    'version',
    'Exit codes: 0 success; 1 failure',
  ]) {
    assert.equal(stdout.includes(word), true, word)
  }
})

test('start --help has every flag of the contract', async () => {
  const { stdout } = await runShoalmq(['start', '--help'])
  for (const flag of [
    'config',
    'name',
    'listen',
    'admin',
    'cluster',
    'seeds',
    'data',
    'allow-anonymous',
    'log-level',
    'log-format',
  ]) {
    assert.equal(stdout.includes(`--${flag}`), true, flag)
  }
})

test('a wrong command line is one hint and exit code 2', async () => {
  const cases: [string[], string][] = [
    [['clutser', 'status'], "shoalmq: unknown command 'clutser'\n(Did you mean cluster?)\n"],
    [['start', '--lisen', 'x'], "shoalmq: unknown option '--lisen'\n(Did you mean --listen?)\n"],
    [
      ['pub', '-t', 'a', '-m', 'b', '-q', '3'],
      "shoalmq: option '-q, --qos <level>' argument '3' is invalid. Expected 0, 1 or 2.\n",
    ],
    [['pub', '-m', 'b'], 'shoalmq: name a topic with -t\n'],
    [['pub', '-t', 'a'], 'shoalmq: say what to publish with one of -m, -n, -l, -s and -f\n'],
    [['pub', '-t', 'a/+', '-m', 'b'], 'shoalmq: a/+ is not a topic name to publish to\n'],
    [['sub'], 'shoalmq: name a topic filter with -t\n'],
    [['sub', '-t', 'a', '-c'], 'shoalmq: -c keeps the session of a client ID: name it with -i\n'],
    [['cluster', 'status', '--admin', '18083'], 'shoalmq: --admin 18083: expected host:port\n'],
  ]
  for (const [parameters, stderr] of cases) {
    assert.deepEqual(await runShoalmq(parameters), { code: 2, stdout: '', stderr }, parameters.join(' '))
  }
})

test('config check says ok and the essentials, and never the secret', async (context) => {
  const file = fileOf(context, 'name: n7@10.0.0.7\ncluster:\n  listen: 0.0.0.0:5370\n  secret: hush-hush\n')
  const { code, stdout, stderr } = await runShoalmq([
    'config',
    'check',
    '--config',
    file,
    '--listen',
    'mqtt://[::1]:1884',
  ])
  assert.deepEqual([code, stderr], [0, ''])
  assert.equal(stdout.startsWith(`ok: ${file}\n`), true)
  assert.match(stdout, /n7@10\.0\.0\.7/)
  assert.match(stdout, /listen +mqtt:\/\/\[::1\]:1884$/m)
  assert.match(stdout, /0\.0\.0\.0:5370, with a secret/)
  assert.doesNotMatch(stdout, /hush/)
})

test('config check lists all problems on standard error, with exit code 1', async (context) => {
  const file = fileOf(context, 'name: n7\nlisten:\n  - mqtt://0.0.0.0:1883\ncluter:\n  name: x\n')
  const { code, stdout, stderr } = await runShoalmq(['config', 'check', '--config', file])
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(stderr, /^shoalmq: 3 problems in the configuration:\n/)
  for (const expected of ['name is "n7"', 'cluter', 'did you mean cluster', 'allowAnonymous: true']) {
    assert.equal(stderr.includes(expected), true, expected)
  }
})

test('config show is a file that means the same, without the secret', async (context) => {
  const { stdout } = await runShoalmq(['config', 'show'], { env: { SHOALMQ_CLUSTER__SECRET: 'hush-hush' } })
  assert.doesNotMatch(stdout, /hush/)
  const shown = parse(stdout) as { cluster: { secret: string } }
  assert.equal('secret' in shown.cluster, false)
  shown.cluster.secret = ''
  assert.deepEqual(loadConfig({ file: fileOf(context, JSON.stringify(shown)), env: {}, flags: {} }), DEFAULTS)
})

test('a configuration that is refused does not start a node', async () => {
  const { code, stdout, stderr } = await runShoalmq(['start', '--listen', 'mqtt://0.0.0.0:1883'])
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(
    stderr,
    /^shoalmq: 1 problem in the configuration:\n {2}- listen \(flag --listen\): mqtt:\/\/0\.0\.0\.0:1883 is not on loopback/,
  )
})

test('pub and sub say in one line that nobody listens there', async () => {
  const port = String(await freePort())
  for (const parameters of [['pub', '-m', 'x'], ['sub']]) {
    const ended = await runShoalmq([...parameters, '-h', '127.0.0.1', '-p', port, '-t', 'a'])
    assert.deepEqual(ended, {
      code: 1,
      stdout: '',
      stderr: `shoalmq: cannot connect to 127.0.0.1:${port}: connection refused\n`,
    })
    const quiet = await runShoalmq([...parameters, '--quiet', '-h', '127.0.0.1', '-p', port, '-t', 'a'])
    assert.deepEqual(quiet, { code: 1, stdout: '', stderr: '' })
  }
})
