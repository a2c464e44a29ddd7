import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { asError, NodeError } from '../../../src/util/errors.js'

describe('errors', () => {
  it('a node error carries its code, its details and its cause', () => {
    const cause = new Error('EADDRINUSE')
    const error = new NodeError('the port is taken', { code: 'PORT_TAKEN', port: 1883 }, { cause })
    assert.ok(error instanceof Error)
    assert.equal(error.name, 'NodeError')
    assert.equal(error.message, 'the port is taken')
    assert.equal(error.code, 'PORT_TAKEN')
    assert.equal(error.details.port, 1883)
    assert.equal(error.cause, cause)
  })

  it('the codes of a union tell its details apart', () => {
    type Failure = { code: 'STALE'; incarnation: number } | { code: 'REFUSED'; reason: string }
    const explain = ({ details }: NodeError<Failure>): string =>
      details.code === 'STALE' ? `incarnation ${details.incarnation}` : details.reason
    assert.equal(explain(new NodeError('stale', { code: 'STALE', incarnation: 3 })), 'incarnation 3')
    assert.equal(explain(new NodeError('refused', { code: 'REFUSED', reason: 'a stranger' })), 'a stranger')
  })

  it('anything thrown becomes an error, and an error stays what it is', () => {
    const error = new TypeError('wrong')
    assert.equal(asError(error), error)
    assert.equal(asError('text').message, 'text')
    assert.equal(asError('text').cause, 'text')
    assert.equal(asError(undefined).message, 'undefined')
  })
})
