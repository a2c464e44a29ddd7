import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { CATALOG } from '../../../src/config/catalog.js'
import { ConfigError, type ConfigSources, loadConfig } from '../../../src/config/load.js'
import { DEFAULTS } from '../../../src/config/options.js'

function load({ file, env = {}, flags = {} }: Partial<ConfigSources> = {}) {
  return loadConfig({ file, env, flags })
}

function problemsOf(sources: Partial<ConfigSources>) {
  try {
    load(sources)
  } catch (error) {
    assert(error instanceof ConfigError)
    return error.problems
  }
  assert.fail('the configuration was accepted')
}

function fileOf(context: TestContext, text: string, name = 'shoalmq.yaml'): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-config-'))
  context.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

test('nothing said means the defaults', () => {
  assert.deepEqual(load(), DEFAULTS)
  assert.deepEqual(load({ env: { PATH: '/bin', HOME: '/' } }), DEFAULTS)
})

test('flags win over the environment, the environment over the file, the file over defaults', (context) => {
  const file = fileOf(context, 'name: file@a\ndata: /file\ncluster:\n  name: file\nlog:\n  level: error\n')
  const env = { SHOALMQ_NAME: 'env@b', SHOALMQ_DATA: '/env' }
  const config = load({ file, env, flags: { name: 'flag@c', data: undefined } })
  assert.deepEqual(
    [config.name, config.data, config.cluster.name, config.log.format],
    ['flag@c', '/env', 'file', 'auto'],
  )
  assert.equal(config.log.level, 'error')
})

test('JSON files are read like YAML files', (context) => {
  const file = fileOf(context, '{"name": "n7@host", "cluster": {"heartbeatInterval": "2s"}}', 'shoalmq.json')
  const config = load({ file })
  assert.deepEqual([config.name, config.cluster.heartbeatInterval], ['n7@host', 2_000])
})

test('an empty file and an empty group mean the defaults', (context) => {
  assert.deepEqual(load({ file: fileOf(context, '# nothing\n') }), DEFAULTS)
  assert.deepEqual(load({ file: fileOf(context, 'cluster:\nmqtt:\n') }), DEFAULTS)
})

test('every option is read from its environment variable, with and without underscores within a level', () => {
  for (const { key, path, environmentName, schema } of CATALOG) {
    const wrong = 'no:such:value '.repeat(20)
    // A value that is refused shows that the variable has reached its key; texts that take anything are below.
    if (schema.safeParse(wrong).success) continue
    for (const name of [environmentName, `SHOALMQ_${path.join('__').toUpperCase()}`]) {
      const reached = problemsOf({ env: { [name]: wrong } }).map((problem) => problem.key)
      assert.deepEqual(reached, [key], name)
    }
  }
})

test('options that take any text are read from the environment', (context) => {
  const secretFile = fileOf(context, 'hush', 'secret')
  const env = { SHOALMQ_DATA: '/d', SHOALMQ_CLUSTER__DNS__NAME: 'peers', SHOALMQ_CLUSTER__SECRETFILE: secretFile }
  const { data, cluster } = load({ env })
  assert.deepEqual([data, cluster.dns.name, cluster.secret], ['/d', 'peers', 'hush'])
  assert.equal(load({ env: { SHOALMQ_CLUSTER__SECRET: 'hush' } }).cluster.secret, 'hush')
})

test('names with a word each are read from the file and from the environment, and checked', (context) => {
  const file = fileOf(context, 'mqtt:\n  sharedGroups: {jobs: sticky}\n')
  assert.deepEqual(load({ file }).mqtt.sharedGroups, { jobs: 'sticky' })
  const SHOALMQ_MQTT__SHARED_GROUPS = 'jobs=local, $queue = hash_topic'
  assert.deepEqual(load({ file, env: { SHOALMQ_MQTT__SHARED_GROUPS } }).mqtt.sharedGroups, {
    jobs: 'local',
    $queue: 'hash_topic',
  })
  for (const wrong of ['jobs', 'jobs=often', '=local']) {
    const [problem] = problemsOf({ env: { SHOALMQ_MQTT__SHARED_GROUPS: wrong } })
    assert.equal(problem?.key, 'mqtt.sharedGroups')
    assert.match(problem?.message ?? '', /names with one of random, round_robin/)
  }
})

test('lists, booleans, counts, durations and sizes are read from the environment', () => {
  const config = load({
    env: {
      SHOALMQ_LISTEN: 'mqtt://0.0.0.0:1883, ws://[::1]:8083/mqtt',
      SHOALMQ_ALLOW_ANONYMOUS: 'true',
      SHOALMQ_CLUSTER__SEEDS: 'a:1,b:2,',
      SHOALMQ_CLUSTER__DNS__INTERVAL: '1m',
      SHOALMQ_MQTT__QUEUE_LENGTH: '50',
      SHOALMQ_MQTT__QUEUEBYTES: '2mb',
    },
  })
  assert.deepEqual(config.listen, ['mqtt://0.0.0.0:1883', 'ws://[::1]:8083/mqtt'])
  assert.equal(config.allowAnonymous, true)
  assert.deepEqual(config.cluster.seeds, ['a:1', 'b:2'])
  assert.equal(config.cluster.dns.interval, 60_000)
  assert.deepEqual([config.mqtt.queueLength, config.mqtt.queueBytes], [50, 2_097_152])
})

test('two variables for one key are refused, whichever is meant', () => {
  const env = { SHOALMQ_CLUSTER__DOWN_AFTER: '6s', SHOALMQ_CLUSTER__DOWNAFTER: '7s' }
  assert.match(problemsOf({ env })[0]?.message ?? '', /both SHOALMQ_CLUSTER__DOWN_AFTER and SHOALMQ_CLUSTER__DOWNAFTER/)
})

test('variables that Kubernetes makes for a Service called shoalmq are not ours', () => {
  const env = {
    SHOALMQ_SERVICE_HOST: '10.1.2.3',
    SHOALMQ_SERVICE_PORT: '1883',
    SHOALMQ_SERVICE_PORT_MQTT: '1883',
    SHOALMQ_PORT: 'tcp://10.1.2.3:1883',
    SHOALMQ_PORT_1883_TCP: 'tcp://10.1.2.3:1883',
    SHOALMQ_PORT_1883_TCP_ADDR: '10.1.2.3',
    SHOALMQ_CLIENT_SERVICE_HOST: '10.1.2.4',
    SHOALMQ_CLIENT_PORT_8083_TCP_PROTO: 'tcp',
  }
  assert.deepEqual(load({ env }), DEFAULTS)
})

test('variables of the client commands are no options', () => {
  assert.deepEqual(load({ env: { SHOALMQ_ADMIN: '127.0.0.1:1', SHOALMQ_CONFIG: '/x' } }), DEFAULTS)
})

test('unknown keys and variables are refused with the nearest known one', (context) => {
  const file = fileOf(context, 'nmae: n1@host\ncluster:\n  hearbeatInterval: 1s\nqueueLength: 5\nzzz: 1\n')
  const problems = problemsOf({ file, env: { SHOALMQ_CLUSTER__SECERT: 'hush' } })
  assert.deepEqual(
    problems.map(({ key, origin, message }) => [key, origin?.replace(file, 'file'), message]),
    [
      ['nmae', 'file:1', 'unknown key; did you mean name?'],
      ['cluster.hearbeatInterval', 'file:3', 'unknown key; did you mean cluster.heartbeatInterval?'],
      ['queueLength', 'file:4', 'unknown key; did you mean mqtt.queueLength?'],
      ['zzz', 'file:5', 'unknown key'],
      ['SHOALMQ_CLUSTER__SECERT', undefined, 'unknown variable; did you mean SHOALMQ_CLUSTER__SECRET?'],
    ],
  )
})

test('all problems are listed at once, each with key, value, origin and what is accepted', (context) => {
  const file = fileOf(context, 'name: n1\nmqtt:\n  receiveMaximum: 0\n  queueBytes: lots\n')
  const env = { SHOALMQ_ALLOW_ANONYMOUS: 'maybe', SHOALMQ_MQTT__INFLIGHT_WINDOW: '70000' }
  const flags = { 'log.level': 'loud', listen: ['mqttss://127.0.0.1:8883'], 'cluster.seeds': 'here' }
  const text = new ConfigError(problemsOf({ file, env, flags })).message.replaceAll(file, 'file')
  assert.deepEqual(text.split('\n'), [
    '8 problems in the configuration:',
    '  - name is "n1" (file:1): a node name is name@host, as in n1@127.0.0.1; expected name@host',
    '  - mqtt.receiveMaximum is 0 (file:3): expected a whole number from 1 to 65535',
    '  - mqtt.queueBytes is "lots" (file:4): "lots" is not a size such as 512b, 64kb, 16mb or 1gb; expected a size from 1kb to 4gb',
    '  - allowAnonymous is "maybe" (environment variable SHOALMQ_ALLOW_ANONYMOUS): expected true or false',
    '  - mqtt.inflightWindow is 70000 (environment variable SHOALMQ_MQTT__INFLIGHT_WINDOW): expected a whole number from 1 to 65535',
    '  - log.level is "loud" (flag --log-level): expected one of trace, debug, info, warn, error, fatal, silent',
    '  - listen is ["mqttss://127.0.0.1:8883"] (flag --listen): mqttss://127.0.0.1:8883: unknown scheme mqttss, expected one of mqtt, mqtts, ws, wss, unix; expected a list of mqtt://host:port, mqtts://host:port, ws://host:port/path, wss://host:port/path or unix:///path; in the file also objects with a url and options',
    '  - cluster.seeds is ["here"] (flag --seeds): here: expected host:port; expected a list of host:port',
  ])
})

test('values below and above the range are refused at its ends only', () => {
  const intervalOf = (text: string) =>
    load({ env: { SHOALMQ_CLUSTER__ROUTE_CONFIRM_TIMEOUT: text } }).cluster.routeConfirmTimeout
  assert.deepEqual(['0', '1m', '60s'].map(intervalOf), [0, 60_000, 60_000])
  assert.throws(() => intervalOf('60001ms'), ConfigError)
})

test('a file that is missing, is no YAML, or says a key twice is said with its path', (context) => {
  assert.match(problemsOf({ file: '/no/such/shoalmq.yaml' })[0]?.message ?? '', /there is no such file/)
  const broken = fileOf(context, 'name: [n1\n')
  assert.equal(problemsOf({ file: broken })[0]?.key, `${broken}:2:1`)
  assert.match(problemsOf({ file: fileOf(context, 'name: a@b\nname: c@d\n') })[0]?.message ?? '', /unique/i)
  assert.match(problemsOf({ file: fileOf(context, '- a\n- b\n') })[0]?.message ?? '', /expected keys and values/)
  assert.match(
    problemsOf({ file: fileOf(context, 'admin: 5\n') })[0]?.message ?? '',
    /expected keys and values below it/,
  )
})

test('a file that is no YAML is refused without its text, which may hold the secret', (context) => {
  for (const text of [
    'cluster:\n  secret: "hunter2\n',
    'cluster:\n  secret: hunter2: x\n',
    'cluster: {secret: hunter2',
  ]) {
    const problems = problemsOf({ file: fileOf(context, text) })
    assert.notEqual(problems.length, 0)
    assert.doesNotMatch(JSON.stringify(problems), /hunter2/)
  }
})

test('the result is frozen through and through', () => {
  const config = load({ env: { SHOALMQ_CLUSTER__SEEDS: 'a:1' } })
  for (const part of [config, config.cluster, config.cluster.dns, config.cluster.seeds, config.listen]) {
    assert.equal(Object.isFrozen(part), true)
  }
})

test('the secret comes from its file, without surrounding white space', (context) => {
  const secretFile = fileOf(context, '  hush\n', 'secret')
  const config = load({ env: { SHOALMQ_CLUSTER__SECRET_FILE: secretFile } })
  assert.deepEqual([config.cluster.secret, config.cluster.secretFile], ['hush', secretFile])
})

test('a secret file that is missing or empty is refused', (context) => {
  assert.match(problemsOf({ env: { SHOALMQ_CLUSTER__SECRET_FILE: '/no/such' } })[0]?.message ?? '', /no such file/)
  const empty = fileOf(context, '\n', 'secret')
  assert.match(problemsOf({ env: { SHOALMQ_CLUSTER__SECRET_FILE: empty } })[0]?.message ?? '', /the file is empty/)
})

test('a secret is never in a message, right or wrong', (context) => {
  const file = fileOf(context, 'name: n1\ncluster:\n  secret: 123456789\n')
  const wrong = new ConfigError(problemsOf({ file }))
  const right = new ConfigError(problemsOf({ env: { SHOALMQ_CLUSTER__SECRET: 'hush-hush', SHOALMQ_NAME: 'n1' } }))
  assert.match(wrong.message, /cluster\.secret \(/)
  for (const { message, problems } of [wrong, right]) {
    assert.doesNotMatch(message + JSON.stringify(problems), /123456789|hush/)
  }
})

test('there is no flag for the secret', () => {
  assert.match(problemsOf({ flags: { 'cluster.secret': 'x' } })[0]?.message ?? '', /there is no flag for this key/)
})

test('a cluster address of off means no cluster', () => {
  assert.equal(load({ flags: { 'cluster.listen': 'off' } }).cluster.listen, '')
  assert.equal(load({ env: { SHOALMQ_CLUSTER__LISTEN: '' } }).cluster.listen, '')
})
