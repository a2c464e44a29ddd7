import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { useCluster } from '../support/cluster.js'
import { ensureDebianPackages } from '../support/debian.js'
import { ForeignClient } from '../support/foreign-client.js'

before(() => ensureDebianPackages('mosquitto-clients'), { timeout: 240_000 })
const cluster = useCluster({ nodes: 2, config: { sys: { interval: '1s' } } })

test('mosquitto_sub reads $SYS: its own node at once, the other within an interval', async (t) => {
  const [n1, n2] = [cluster().node(1), cluster().node(2)]
  const subscriber = ForeignClient.start(t, [
    ...['stdbuf', '-oL', 'mosquitto_sub', '-p', `${n1.ports.mqtt}`, '-t', '$SYS/#', '-F', '%r %t = %p'],
  ])
  await subscriber.says(/^1 \$SYS\/broker\/version = shoalmq version /)
  await subscriber.says(/^1 \$SYS\/broker\/clients\/connected = 1$/)
  await subscriber.says(/^1 \$SYS\/broker\/load\/messages\/received\/1min = \d+\.\d\d$/)
  await subscriber.says(/^0 \$SYS\/broker\/uptime = \d+ seconds$/)
  await subscriber.says(new RegExp(`^1 \\$SYS/brokers = ${n1.name},${n2.name}$`))
  for (const { name } of [n1, n2]) {
    await subscriber.says(
      new RegExp(`^0 \\$SYS/brokers/${name}/stats/connections/count = ${name === n1.name ? 1 : 0}$`),
    )
  }
  await ForeignClient.run(t, ['mosquitto_pub', '-p', `${n2.ports.mqtt}`, '-i', 'there', '-t', 'x', '-m', 'x'])
  await subscriber.says(new RegExp(`^0 \\$SYS/brokers/${n2.name}/clients/there/connected = \\{.*"clientid":"there"`))
  await subscriber.says(new RegExp(`^0 \\$SYS/brokers/${n2.name}/clients/there/disconnected = \\{.*"reason":"normal"`))
  const versions = subscriber.lines().filter((line) => line.includes('$SYS/broker/version'))
  assert.ok(
    versions.every((line) => line.endsWith('0.1.0')),
    'only of the node that it is connected to',
  )
})
