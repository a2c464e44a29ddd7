import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Settings } from 'node:http2'
import { afterEach, describe, it } from 'node:test'
import { pino } from 'pino'
import type { LinkStream } from '../../../src/cluster/link-stream.js'
import { MeshTls } from '../../../src/cluster/mesh-tls.js'
import { registerMeshTlsMetrics } from '../../../src/cluster/mesh-tls-metrics.js'
import { MeshChannel, MeshServer } from '../../../src/cluster/transport.js'
import { LINK_PATH, type LinkBody } from '../../../src/cluster/wire.js'
import { DEFAULTS } from '../../../src/config/options.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { CertificateAuthority } from '../../support/certificates.js'
import { eventually } from '../../support/eventually.js'

/** HTTP/2's own window per stream and round trip. */
const DEFAULT_WINDOW_BYTES = 65_535

function meshTls(): MeshTls {
  const authority = new CertificateAuthority()
  const pair = authority.issue({ subject: '/CN=node' })
  return new MeshTls(
    { ...DEFAULTS.cluster.tls, ...pair, caFile: authority.caFile },
    { metrics: registerMeshTlsMetrics(new MetricRegistry()), log: pino({ level: 'silent' }) },
  )
}

describe('the transport of links', () => {
  let server: MeshServer
  const accepted: { stream: LinkStream; trust: () => void }[] = []

  const cuts: string[] = []

  async function listen(tls?: MeshTls): Promise<void> {
    accepted.length = 0
    cuts.length = 0
    server = new MeshServer({
      log: pino({ level: 'silent' }),
      tls,
      onLink: (stream, trust) => accepted.push({ stream, trust }),
      onHeartbeat() {},
      onStrangerCut: (reason) => cuts.push(reason),
    })
    await server.start('127.0.0.1:0')
  }

  afterEach(() => server.stop())

  it('widens the window of the accepting side for a peer that has proved itself, not for a stranger', async () => {
    await listen()
    const session = connect(`http://${server.address}`)
    try {
      let settings: Settings | undefined
      session.on('remoteSettings', (received) => {
        settings = received
      })
      const stream = session.request({ ':method': 'POST', ':path': LINK_PATH, 'content-type': 'application/grpc' })
      stream.on('error', () => stream.close())
      await eventually(() => assert.equal(accepted.length, 1))
      await eventually(() => assert.equal(settings?.initialWindowSize, DEFAULT_WINDOW_BYTES))
      accepted[0]?.trust()
      await eventually(() => assert.equal(settings?.initialWindowSize, 4 * 1024 * 1024))
    } finally {
      session.destroy()
    }
  })

  it('gathers what is sent while a write is under way, in order, and says when there is room again', async () => {
    await listen()
    const channel = new MeshChannel(server.address)
    const client = channel.openLink()
    client.send({ $case: 'batchAck', value: { sequence: 0, selected: [] } })
    await eventually(() => assert.equal(accepted.length, 1))
    const received: LinkBody[] = []
    accepted[0]?.trust()
    accepted[0]?.stream.flow({ onMessage: (body) => received.push(body), onDrain() {}, onClosed() {} })
    let drains = 0
    client.flow({
      onMessage() {},
      onDrain() {
        drains += 1
      },
      onClosed() {},
    })

    const entries = Buffer.alloc(64 * 1024)
    let sent = 0
    // In one turn, so that nothing can leave in between.
    while (client.isWritable) {
      sent += 1
      client.send({ $case: 'looseBatch', value: { sequence: sent, entries, continued: false, waited: 0 } })
    }
    assert.ok(sent >= 32 && sent <= 34, `2 MiB of 64 KiB each, not ${sent}`)
    await eventually(() => assert.equal(received.length, sent + 1))
    const sequences = received.map((body) => (body.$case === 'looseBatch' ? body.value.sequence : 0))
    assert.deepEqual(sequences, [...Array(sent + 1).keys()])
    assert.equal(drains, 1)
    assert.ok(client.isWritable)
    client.send({ $case: 'batchAck', value: { sequence: 77, selected: [] } })
    client.end()
    await eventually(() =>
      assert.deepEqual(received.at(-1), { $case: 'batchAck', value: { sequence: 77, selected: [] } }),
    )
    client.destroy()
  })

  for (const kind of ['plain', 'TLS'] as const) {
    it(`counts frames, and the bytes of the connection below them, over ${kind} connections`, async () => {
      const tls = kind === 'TLS' ? meshTls() : undefined
      await listen(tls)
      const client = new MeshChannel(server.address, tls).openLink()
      client.send({ $case: 'batchAck', value: { sequence: 1, selected: [] } })
      await eventually(() => assert.equal(accepted[0]?.stream.framesReceived, 1))
      const far = accepted[0]?.stream as LinkStream
      accepted[0]?.trust()
      const quiet = { onMessage() {}, onDrain() {}, onClosed() {} }
      client.flow(quiet)
      const before = client.bytesReceived
      const entries = Buffer.alloc(1024 * 1024)
      far.send({ $case: 'looseBatch', value: { sequence: 1, entries, continued: false, waited: 0 } })
      assert.deepEqual([far.framesSent, far.isWriting, client.framesReceived], [1, true, 0])
      await eventually(() => assert.equal(client.framesReceived, 1))
      await eventually(() => assert.equal(far.isWriting, false))
      assert.ok(client.bytesReceived - before > entries.length, `${client.bytesReceived - before} bytes came`)
      assert.ok(far.bytesReceived > 100, `${far.bytesReceived} bytes came to the other side`)
      assert.deepEqual([client.framesSent, far.framesReceived], [1, 1])
      client.destroy()
      tls?.stop()
    })
  }

  it('cuts a stranger that has more to say than a handshake, without waiting for the end of its message', async () => {
    await listen()
    const session = connect(`http://${server.address}`)
    try {
      session.on('error', () => session.close())
      const stream = session.request({ ':method': 'POST', ':path': LINK_PATH, 'content-type': 'application/grpc' })
      stream.on('error', () => stream.close())
      // Announces 8 MiB and goes on for 256 KiB.
      stream.write(Buffer.from([0, 0, 0x80, 0, 0]))
      stream.write(Buffer.alloc(256 * 1024))
      await eventually(() => assert.equal(session.closed, true))
      assert.deepEqual(cuts, ['too_much'])
    } finally {
      session.destroy()
    }
  })

  it('does not look into a large frame before the handshake is complete', async () => {
    await listen()
    const session = connect(`http://${server.address}`)
    try {
      session.on('error', () => session.close())
      const stream = session.request({ ':method': 'POST', ':path': LINK_PATH, 'content-type': 'application/grpc' })
      stream.on('error', () => stream.close())
      // 5,000 bytes of empty messages, each of which would be an object.
      const frame = Buffer.alloc(5_000)
      for (let at = 0; at < frame.length; at += 2) frame[at] = 0x0a
      const length = Buffer.alloc(5)
      length.writeUInt32BE(frame.length, 1)
      stream.write(Buffer.concat([length, frame]))
      await eventually(() => assert.equal(accepted[0]?.stream.isClosed, true))
      await assert.rejects(accepted[0]?.stream.receive() ?? Promise.resolve(), { code: 'LINK_FLOODED' })
    } finally {
      session.destroy()
    }
  })

  it('is closed by bytes that are no frame', async () => {
    await listen()
    const session = connect(`http://${server.address}`)
    try {
      const stream = session.request({ ':method': 'POST', ':path': LINK_PATH, 'content-type': 'application/grpc' })
      stream.on('error', () => stream.close())
      await eventually(() => assert.equal(accepted.length, 1))
      accepted[0]?.stream.flow({ onMessage() {}, onDrain() {}, onClosed() {} })
      const closed = once(session, 'close')
      // A gRPC message of three bytes that end in the middle of a field.
      stream.write(Buffer.from([0, 0, 0, 0, 3, 0x0a, 0x7f, 0x01]))
      await closed
      assert.equal(accepted[0]?.stream.isClosed, true)
    } finally {
      session.destroy()
    }
  })
})
