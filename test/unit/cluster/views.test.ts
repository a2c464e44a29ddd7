import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { PeerStateName } from '../../../src/cluster/metrics.js'
import { readView, type SeenPeer, Views, viewOf } from '../../../src/cluster/views.js'

const SETTLE_MS = 2_000

function seen(name: string, state: PeerStateName, view?: Record<string, PeerStateName>): SeenPeer {
  const others = Object.entries(view ?? {}).map(([other, as]) => seen(other, as))
  return { name, state, isReachable: state === 'up', view: view === undefined ? undefined : readView(viewOf(others)) }
}

/** What node `a` finds when its peers are so for a while. */
function found(...peers: SeenPeer[]): string[] {
  const views = new Views('a', SETTLE_MS)
  const table = new Map(peers.map((peer) => [peer.name, peer]))
  views.compare(table, 0)
  views.compare(table, SETTLE_MS)
  return Array.from(views.differing(SETTLE_MS), ({ peer, node, seen: where }) => `${peer} on ${node}: up ${where}`)
}

describe('views', () => {
  it('are the same in a whole mesh, and on each side of a clean split', () => {
    assert.deepEqual(found(seen('b', 'up', { a: 'up', c: 'up' }), seen('c', 'up', { a: 'up', b: 'up' })), [])
    assert.deepEqual(found(seen('b', 'up', { a: 'up', c: 'down' }), seen('c', 'down', { a: 'up', b: 'up' })), [])
    assert.deepEqual(found(seen('b', 'up', { a: 'up', c: 'left' }), seen('c', 'down')), [])
  })

  it('differ where a third node is up for one of two that are linked', () => {
    assert.deepEqual(found(seen('b', 'up', { a: 'up', c: 'down' }), seen('c', 'up', { a: 'up', b: 'down' })), [
      'b on c: up here',
      'c on b: up here',
    ])
    assert.deepEqual(found(seen('b', 'down'), seen('c', 'up', { a: 'up', b: 'up' })), ['c on b: up there'])
    assert.deepEqual(found(seen('b', 'up', { a: 'up', c: 'up' })), ['b on c: up there'], 'a node not known here')
    assert.deepEqual(found(seen('b', 'up', { a: 'up' }), seen('c', 'up')), ['b on c: up here'], 'not known there')
  })

  it('differ where a peer that is heard does not hear this node', () => {
    assert.deepEqual(found(seen('b', 'up', { a: 'down' })), ['b on a: up here'])
  })

  it('do not differ about a node that is suspect, nor with a peer that has not said what it sees', () => {
    assert.deepEqual(found(seen('b', 'up', { a: 'up', c: 'suspect' }), seen('c', 'up')), [])
    assert.deepEqual(found(seen('b', 'up', { a: 'up', c: 'up' }), seen('c', 'suspect')), [])
    assert.deepEqual(found(seen('b', 'up'), seen('c', 'down')), [])
  })

  it('differ only when they have done so for a while without a break', () => {
    const views = new Views('a', SETTLE_MS)
    const apart = new Map([['b', seen('b', 'up', { a: 'up', c: 'up' })]])
    const alike = new Map([['b', seen('b', 'up', { a: 'up' })]])
    const differing = (now: number): number => Array.from(views.differing(now)).length
    views.compare(apart, 0)
    assert.equal(differing(SETTLE_MS - 1), 0)
    assert.equal(differing(SETTLE_MS), 1)
    views.compare(alike, SETTLE_MS)
    assert.equal(differing(SETTLE_MS), 0)
    views.compare(apart, SETTLE_MS + 1)
    assert.equal(differing(2 * SETTLE_MS), 0)
  })
})
