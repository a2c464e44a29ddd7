import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { IdentityError, openNodeIdentity } from '../../../src/store/node-identity.js'

const NAME = 'n1@127.0.0.1'

function temporaryDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-identity-'))
  context.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

describe('the identity of a node', () => {
  it('is made in a directory that does not exist yet', (t) => {
    const directory = join(temporaryDirectory(t), 'deep', 'er')
    const before = Date.now()
    const identity = openNodeIdentity(directory, NAME)
    assert.equal(identity.name, NAME)
    assert.ok(identity.incarnation >= before)
    assert.deepEqual(JSON.parse(readFileSync(join(directory, 'node.json'), 'utf8')), identity)
    assert.deepEqual(readdirSync(directory), ['node.json'], 'nothing half-written is left')
  })

  it('has a higher incarnation in each life, also when the clock goes back', (t) => {
    const directory = temporaryDirectory(t)
    t.mock.timers.enable({ apis: ['Date'], now: 5_000 })
    assert.equal(openNodeIdentity(directory, NAME).incarnation, 5_000)
    assert.equal(openNodeIdentity(directory, NAME).incarnation, 5_001)
    t.mock.timers.setTime(1_000)
    assert.equal(openNodeIdentity(directory, NAME).incarnation, 5_002)
    t.mock.timers.setTime(9_000)
    assert.equal(openNodeIdentity(directory, NAME).incarnation, 9_000)
  })

  it('is not given to a node of another name', (t) => {
    const directory = temporaryDirectory(t)
    openNodeIdentity(directory, NAME)
    const before = readFileSync(join(directory, 'node.json'), 'utf8')
    assert.throws(
      () => openNodeIdentity(directory, 'n2@127.0.0.1'),
      (error: unknown) =>
        error instanceof IdentityError &&
        error.details.code === 'DATA_FOREIGN' &&
        error.details.directory === directory &&
        /belongs to node n1@127\.0\.0\.1, not to n2@127\.0\.0\.1/.test(error.message),
    )
    assert.equal(readFileSync(join(directory, 'node.json'), 'utf8'), before)
  })

  it('is not guessed from a damaged file', (t) => {
    const directory = temporaryDirectory(t)
    for (const text of [
      '',
      '{',
      'null',
      '{"name":"n1@127.0.0.1"}',
      '{"name":1,"incarnation":1}',
      '{"name":"x","incarnation":1.5}',
    ]) {
      writeFileSync(join(directory, 'node.json'), text)
      assert.throws(
        () => openNodeIdentity(directory, NAME),
        (error: unknown) =>
          error instanceof IdentityError &&
          error.details.code === 'DATA_UNUSABLE' &&
          /node\.json is damaged/.test(error.message),
        text,
      )
      assert.equal(readFileSync(join(directory, 'node.json'), 'utf8'), text, 'left as it was')
    }
  })

  it('survives a crash before the rename: what is half-written beside it is not read', (t) => {
    const directory = temporaryDirectory(t)
    const { incarnation } = openNodeIdentity(directory, NAME)
    writeFileSync(join(directory, 'node.json.new'), '{"na')
    assert.ok(openNodeIdentity(directory, NAME).incarnation > incarnation)
  })

  it('says which directory cannot be used, and why', (t) => {
    const parent = temporaryDirectory(t)
    const file = join(parent, 'file')
    writeFileSync(file, '')
    const unusable = (directory: string) => (error: unknown) =>
      error instanceof IdentityError &&
      error.details.code === 'DATA_UNUSABLE' &&
      error.message.includes(directory) &&
      error.cause instanceof Error
    assert.throws(() => openNodeIdentity(join(file, 'data'), NAME), unusable(join(file, 'data')))
    mkdirSync(join(parent, 'data', 'node.json'), { recursive: true })
    assert.throws(() => openNodeIdentity(join(parent, 'data'), NAME), unusable(join(parent, 'data')))
    if (process.getuid?.() !== 0) {
      const closed = join(parent, 'closed')
      mkdirSync(closed)
      chmodSync(closed, 0o500)
      assert.throws(() => openNodeIdentity(closed, NAME), unusable(closed))
    }
  })
})
