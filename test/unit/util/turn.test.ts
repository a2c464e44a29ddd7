import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import { describe, it } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { TurnQueue, type TurnTask } from '../../../src/util/turn.js'
import { eventually } from '../../support/eventually.js'

class Task implements TurnTask {
  isQueued = false
  private readonly run: (task: Task) => void

  constructor(run: (task: Task) => void) {
    this.run = run
  }

  runTurn(): void {
    this.run(this)
  }
}

function setUp() {
  const errors: [unknown, TurnTask][] = []
  const ran: string[] = []
  const turns = new TurnQueue({ onError: (error, task) => errors.push([error, task]) })
  return { turns, errors, ran, task: (name: string) => new Task(() => ran.push(name)) }
}

describe('turn queue', () => {
  it('runs each task once a turn, in the order of adding', async () => {
    const { turns, ran, task } = setUp()
    const [a, b] = [task('a'), task('b')]
    for (const added of [a, b, a, b, a]) turns.add(added)
    assert.equal(turns.length, 2)
    assert.ok(a.isQueued)
    assert.deepEqual(ran, [])
    await nextTurn()
    assert.deepEqual(ran, ['a', 'b'])
    assert.ok(!a.isQueued)
    assert.equal(turns.length, 0)
    turns.add(b)
    turns.add(a)
    await nextTurn()
    assert.deepEqual(ran, ['a', 'b', 'b', 'a'])
  })

  it('runs after promises and ticks of the turn', async () => {
    const { turns, ran, task } = setUp()
    turns.add(task('turn'))
    process.nextTick(() => ran.push('tick'))
    void Promise.resolve().then(() => ran.push('promise'))
    await nextTurn()
    assert.deepEqual(ran.sort(), ['promise', 'tick', 'turn'].sort())
    assert.equal(ran.at(-1), 'turn')
  })

  it('leaves a task that adds itself, or another, while it runs to the next turn', async () => {
    const { turns, ran, task } = setUp()
    const other = task('other')
    const again = new Task((self) => {
      ran.push('again')
      if (ran.length > 1) return
      turns.add(self)
      turns.add(other)
    })
    turns.add(again)
    await nextTurn()
    assert.deepEqual(ran, ['again'])
    assert.ok(again.isQueued)
    await nextTurn()
    assert.deepEqual(ran, ['again', 'again', 'other'])
  })

  it('hands over what a task throws, and runs the others', async () => {
    const { turns, errors, ran, task } = setUp()
    const failure = new Error('from runTurn')
    const failing = new Task(() => {
      throw failure
    })
    turns.add(failing)
    turns.add(task('other'))
    await nextTurn()
    assert.deepEqual(errors, [[failure, failing]])
    assert.deepEqual(ran, ['other'])
    assert.ok(!failing.isQueued)
  })

  it('runs after all that sockets brought in the same turn', async (context) => {
    const { turns } = setUp()
    const batches: number[] = []
    let accepted = 0
    let received = 0
    const flush = new Task(() => {
      batches.push(received)
      received = 0
    })
    const server = createServer((socket) => {
      accepted += 1
      socket.on('data', () => {
        received += 1
        turns.add(flush)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    assert.ok(address !== null && typeof address === 'object')
    const sockets = Array.from({ length: 8 }, () => connect(address.port, '127.0.0.1'))
    context.after(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    await eventually(() => assert.equal(accepted, sockets.length))
    for (const socket of sockets) socket.write('x')
    await eventually(() =>
      assert.equal(
        batches.reduce((sum, size) => sum + size, 0),
        sockets.length,
      ),
    )
    assert.ok(batches.length < sockets.length, `${sockets.length} chunks were flushed in ${batches.length} turns`)
  })

  it('forgets its tasks when it stops, and takes no more', async () => {
    const { turns, ran, task } = setUp()
    const [waiting, late] = [task('waiting'), task('late')]
    turns.add(waiting)
    turns.stop()
    turns.stop()
    turns.add(late)
    await nextTurn()
    assert.deepEqual(ran, [])
    assert.ok(!waiting.isQueued && !late.isQueued)
  })

  it('runs no further task when one of them stops it', async () => {
    const { turns, ran, task } = setUp()
    const after = task('after')
    turns.add(new Task(() => turns.stop()))
    turns.add(after)
    await nextTurn()
    assert.deepEqual(ran, [])
    assert.ok(!after.isQueued)
  })
})
