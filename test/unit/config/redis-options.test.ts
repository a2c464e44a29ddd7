import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ConfigError, loadConfig } from '../../../src/config/load.js'
import { parseRedisUrl, type RedisOptions, redisTls } from '../../../src/config/redis-options.js'

const PLACE = '127.0.0.1:6379'

function optionsOf(redis: object, kind = 'redis', env: Record<string, string> = {}): RedisOptions {
  return loadConfig({ values: { store: { kind, redis } }, env, flags: {} }).store.redis
}

/** What `shoalmq config check` prints. */
function refusalOf(redis: object, kind = 'redis', env: Record<string, string> = {}): string {
  try {
    optionsOf(redis, kind, env)
    return ''
  } catch (error) {
    assert(error instanceof ConfigError)
    return error.message
  }
}

test('one of the three deployments is needed, and only one', () => {
  assert.match(refusalOf({}), /store\.kind.*: none is set; store\.kind redis needs one of store\.redis\.url, /)
  const two = refusalOf({ url: `redis://${PLACE}`, cluster: [PLACE] })
  assert.match(two, /store\.redis\.url and store\.redis\.cluster are set; .* needs one of/)
  assert.match(refusalOf({ url: `redis://${PLACE}` }, 'embedded'), /says nothing while store\.kind is embedded/)
  for (const redis of [{ url: `redis://${PLACE}` }, { sentinels: [PLACE], name: 'shoal' }, { cluster: [PLACE] }]) {
    assert.equal(refusalOf(redis), '')
  }
})

test('what does not go together is refused', () => {
  assert.match(refusalOf({ sentinels: [PLACE] }), /store\.redis\.sentinels needs store\.redis\.name/)
  assert.match(refusalOf({ url: `redis://${PLACE}`, name: 'x' }), /store\.redis\.name says nothing without/)
  assert.match(refusalOf({ cluster: [PLACE], db: 2 }), /store\.redis\.db is 2, but a Redis Cluster has only 0/)
  const url = `redis://${PLACE}`
  assert.match(refusalOf({ url, tls: { certFile: 'a.pem' } }), /certFile goes with store\.redis\.tls\.keyFile/)
  assert.match(refusalOf({ url, tls: { caFile: '/no/such' } }), /caFile is \/no\/such: there is no such file/)
  assert.match(refusalOf({ url, password: 'a', passwordFile: 'b' }), /password and .*passwordFile are both set/)
})

test('addresses, prefixes and times that cannot be are refused with the value and what is accepted', () => {
  const cases: [redis: object, expected: RegExp][] = [
    [{ url: 'http://x' }, /store\.redis\.url is "http:\/\/x".*expected redis:\/\/host:port or rediss:\/\/host:port/],
    [{ url: `redis://${PLACE}/2` }, /and nothing behind it/],
    [{ url: 'redis://127.0.0.1:0' }, /port 0 cannot be dialed/],
    [
      { sentinels: ['127.0.0.1'], name: 'x' },
      /store\.redis\.sentinels is \["127\.0\.0\.1"\].*expected a list of host:port/,
    ],
    [{ url: `redis://${PLACE}`, keyPrefix: 'a{b}' }, /store\.redis\.keyPrefix is "a\{b\}".*braces or white space/],
    [{ url: `redis://${PLACE}`, waitTime: '1ms' }, /store\.redis\.waitTime is "1ms".*a duration from 50ms to 1m/],
  ]
  for (const [redis, expected] of cases) assert.match(refusalOf(redis), expected)
})

test('a password is read from the environment or a file, and is in no message', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-config-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'password')
  writeFileSync(file, ' open-sesame\n')
  const url = `redis://${PLACE}`
  assert.equal(optionsOf({ url, passwordFile: file }).password, 'open-sesame')
  assert.equal(optionsOf({ url, sentinelPasswordFile: file }).sentinelPassword, 'open-sesame')
  const env = { SHOALMQ_STORE__REDIS__PASSWORD: 'open-sesame' }
  assert.equal(optionsOf({ url }, 'redis', env).password, 'open-sesame')
  assert.match(refusalOf({ url, passwordFile: '/no/such' }), /store\.redis\.passwordFile is \/no\/such .*no such file/)
  const inUrl = refusalOf({ url: `redis://me:open-sesame@${PLACE}` })
  assert.match(inUrl, /store\.redis\.url is "redis:\/\/\*\*\*@127\.0\.0\.1:6379".*do not belong in a URL/)
  for (const message of [inUrl, refusalOf({}, 'redis', env)]) assert.doesNotMatch(message, /open-sesame/)
})

test('a URL says host, port and whether there is TLS', () => {
  assert.deepEqual(parseRedisUrl('redis://cache'), { host: 'cache', port: 6_379, isTls: false })
  assert.deepEqual(parseRedisUrl('rediss://[::1]:7000/'), { host: '::1', port: 7_000, isTls: true })
  assert.deepEqual(parseRedisUrl('redis://[::1]'), { host: '::1', port: 6_379, isTls: false })
  assert.deepEqual(redisTls(optionsOf({ url: 'rediss://cache', tls: { serverName: 'redis.example' } })), {
    servername: 'redis.example',
  })
  assert.equal(redisTls(optionsOf({ url: 'redis://cache' })), undefined)
  assert.deepEqual(redisTls(optionsOf({ cluster: [PLACE], tls: { enabled: true } })), {})
})
