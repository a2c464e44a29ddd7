import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Deferred } from '../../../src/util/deferred.js'

describe('deferred', () => {
  it('resolves what is awaited, with the first value', async () => {
    const deferred = new Deferred<number>()
    assert.ok(!deferred.isSettled)
    deferred.resolve(1)
    deferred.resolve(2)
    deferred.reject(new Error('too late'))
    assert.ok(deferred.isSettled)
    assert.equal(await deferred.promise, 1)
  })

  it('rejects what is awaited', async () => {
    const deferred = new Deferred()
    const failure = new Error('from elsewhere')
    const rejected = assert.rejects(deferred.promise, failure)
    deferred.reject(failure)
    await rejected
    assert.ok(deferred.isSettled)
  })
})
