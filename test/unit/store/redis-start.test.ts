import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { describe, it } from 'node:test'
import { OpenTable, untilReleased } from '../../contract/store.js'
import { CertificateAuthority } from '../../support/certificates.js'
import { eventually } from '../../support/eventually.js'
import { freePort } from '../../support/free-port.js'
import { redisFor } from '../../support/redis.js'
import { openRedis, type RedisLife, redisBed } from './redis-bed.js'

const NODE = { name: 'n1@127.0.0.1', incarnation: 1 }

describe('the store in Redis, at the start', () => {
  it('ends with the address and the reason when nobody is there in time, and never shows the password', async (t) => {
    const port = await freePort()
    const url = `redis://127.0.0.1:${port}`
    const nobody = openRedis({ url, password: 'geheim', connectTimeout: '300ms' }, NODE)
    await assert.rejects(nobody, {
      code: 'REDIS_UNREACHABLE',
      message: `Redis at ${url} cannot be reached: connect ECONNREFUSED 127.0.0.1:${port}`,
    })
    const silent = createServer(() => undefined).listen(0, '127.0.0.1')
    t.after(() => silent.close())
    await eventually(() => assert.equal(silent.listening, true))
    const { port: silentPort } = silent.address() as { port: number }
    for (const values of [
      { url: `redis://127.0.0.1:${silentPort}` },
      { sentinels: [`127.0.0.1:${port}`], name: 'shoal' },
      { cluster: [`127.0.0.1:${port}`] },
    ]) {
      const opened = openRedis({ ...values, password: 'geheim', connectTimeout: '500ms', waitTime: '200ms' }, NODE)
      await assert.rejects(opened, (error: Error & { code?: string }) => {
        assert.equal(error.code, 'REDIS_UNREACHABLE')
        assert.match(error.message, /^Redis at .*127\.0\.0\.1:\d+ cannot be reached: ./)
        assert.doesNotMatch(error.message, /geheim/)
        return true
      })
    }
  })

  it('waits for a Redis that comes in time', async (t) => {
    const server = await redisFor(t)
    await server.kill()
    const opening = openRedis({ url: server.url }, NODE)
    await server.resume()
    await (await opening).stop()
  })

  it('says at once that the password is wrong, or missing', async (t) => {
    const server = await redisFor(t, '--requirepass', 'geheim')
    const wrong = openRedis({ url: server.url, password: 'falsch' }, NODE)
    await assert.rejects(wrong, { code: 'REDIS_DENIED', message: /denies access: WRONGPASS/ })
    await assert.rejects(openRedis({ url: server.url }, NODE), { code: 'REDIS_DENIED', message: /NOAUTH/ })
    await (await openRedis({ url: server.url, password: 'geheim' }, NODE)).stop()
  })

  it('needs no more rights than those that the documentation names', async (t) => {
    const server = await redisFor(t)
    const rights = ['~shoalmq:*', '+@connection', '+@read', '+@write', '+@scripting', '+info', '+wait']
    await server.ask('acl', 'setuser', 'shoal', 'on', '>geheim', ...rights)
    const user = { username: 'shoal', password: 'geheim' }
    const bed = redisBed(t, () => ({ url: server.url, ...user }))
    const open = await OpenTable.open(bed)
    await untilReleased(open.set('a', '1'), open.set('b', undefined))
    await open.life.stop()
    const again = await OpenTable.open(bed)
    assert.deepEqual(again.table.content(), [['a', '1']])
    assert.deepEqual(
      (again.life as RedisLife).log.filter(({ msg }) => msg === 'Redis does not tell how it is set up'),
      [],
    )
    const outside = openRedis({ url: server.url, ...user, keyPrefix: 'other:' }, NODE)
    await assert.rejects(outside, { code: 'REDIS_DENIED', message: /NOPERM/ })
  })

  it('uses a database of its own, and TLS with a certificate on each side', async (t) => {
    const authority = new CertificateAuthority()
    const [ofServer, ofNode, port] = [authority.server(), authority.issue({ subject: '/CN=n1' }), await freePort()]
    await redisFor(
      t,
      ...['--tls-port', String(port), '--tls-cert-file', ofServer.certFile, '--tls-key-file', ofServer.keyFile],
      ...['--tls-ca-cert-file', authority.caFile, '--tls-auth-clients', 'yes'],
    )
    const url = `rediss://127.0.0.1:${port}`
    const tls = { caFile: authority.caFile, ...ofNode }
    const open = await OpenTable.open(redisBed(t, () => ({ url, tls, db: 3 })))
    await untilReleased(open.set('a', '1'))
    await open.life.stop()
    const strangers = openRedis({ url, connectTimeout: '300ms' }, NODE)
    await assert.rejects(strangers, { code: 'REDIS_UNREACHABLE', message: /certificate|self.signed/i })
  })

  it('warns of a Redis that forgets', async (t) => {
    const forgetful = await redisFor(t, '--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru')
    const life = await openRedis({ url: forgetful.url }, NODE)
    await life.stop()
    const warnings = life.log.filter(({ level }) => level === 40).map(({ msg }) => msg)
    assert.equal(warnings.length, 2)
    assert.match(warnings[0] ?? '', /removes keys when its memory is full/)
    assert.match(warnings[1] ?? '', /has no append-only file/)
  })
})
