import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, type TestContext, test } from 'node:test'
import { useCluster } from '../support/cluster.js'
import { ensureDebianPackages } from '../support/debian.js'
import { eventually } from '../support/eventually.js'
import { freePort } from '../support/free-port.js'
import { Player, scriptOf } from './session-script.js'

const SCRIPTS = 15
const FIRST_SEED = Number(process.env.SHOALMQ_TEST_SEED ?? 1)

before(() => ensureDebianPackages('mosquitto'), { timeout: 240_000 })
const cluster = useCluster({
  nodes: 1,
  config: {
    // A copy for each matching subscription, on both sides: Mosquitto cannot do otherwise without losing some of their options.
    mqtt: { overlappingDeliveries: 'each' },
    // As Mosquitto here: what waits for a commit may come behind the PINGRESP by which a player knows that all has come.
    store: { kind: 'memory' },
  },
})

/** A Mosquitto of its own for one test; its port. */
async function startMosquitto(context: TestContext): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-mosquitto-'))
  const port = await freePort()
  const config = join(directory, 'mosquitto.conf')
  const options = ['allow_anonymous true', 'allow_duplicate_messages true', 'max_inflight_messages 100']
  writeFileSync(config, [`listener ${port} 127.0.0.1`, ...options, ''].join('\n'))
  const child = spawn('/usr/sbin/mosquitto', ['-c', config], { stdio: 'ignore' })
  context.after(() => {
    child.kill('SIGKILL')
    rmSync(directory, { recursive: true })
  })
  await eventually(
    async () => {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect').finally(() => socket.destroy())
    },
    { within: 10_000 },
  )
  return port
}

test('three clients that do this and that get from a node what they get from Mosquitto, message by message', {
  timeout: 240_000,
}, async (t) => {
  const mosquitto = await startMosquitto(t)
  const node = cluster().node(1).ports.mqtt
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SCRIPTS; seed += 1) {
    const script = scriptOf(seed)
    const name = `s${seed}c`
    const ours = await new Player(t, node, name).play(script)
    const theirs = await new Player(t, mosquitto, name).play(script)
    assert.deepEqual(ours, theirs, `seed ${seed}`)
  }
})
