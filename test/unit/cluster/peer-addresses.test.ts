import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { PeerAddresses } from '../../../src/cluster/peer-addresses.js'

describe('the addresses of a peer', () => {
  it('begin with the one that it advertises, each once', () => {
    const addresses = new PeerAddresses()
    assert.equal(addresses.first, '')
    addresses.add('found:1', false)
    addresses.add('advertised:1', true)
    addresses.add('found:2', false)
    addresses.add('found:1', false)
    assert.deepEqual(addresses.all, ['advertised:1', 'found:2', 'found:1'])
    addresses.add('advertised:2', true)
    assert.equal(addresses.first, 'advertised:2')
    addresses.remove('advertised:2')
    assert.equal(addresses.first, 'advertised:1')
  })

  it('are four at most: one that is found last is forgotten rather than the advertised one', () => {
    const addresses = new PeerAddresses()
    addresses.add('advertised:1', true)
    for (let port = 1; port <= 5; port += 1) addresses.add(`found:${port}`, false)
    assert.deepEqual(addresses.all, ['advertised:1', 'found:1', 'found:2', 'found:3'])
  })
})
