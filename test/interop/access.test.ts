import assert from 'node:assert/strict'
import { before, type TestContext, test } from 'node:test'
import { useCluster } from '../support/cluster.js'
import { ensureDebianPackages } from '../support/debian.js'
import { ForeignClient } from '../support/foreign-client.js'
import { temporaryFile } from '../support/temporary-file.js'
import { passwordOf, usersFile } from '../support/users.js'

const ACL = `
rules:
  - {allow: publish, username: sensor, topics: ['sensors/%u/#']}
  - {allow: subscribe, username: reader, topics: ['sensors/#']}
`

before(() => ensureDebianPackages('mosquitto-clients'), { timeout: 240_000 })
const cluster = useCluster({
  nodes: 2,
  config: {
    access: {
      usersFile: temporaryFile('users', await usersFile('sensor', 'reader')),
      aclFile: temporaryFile('acl.yaml', ACL),
    },
  },
})

function mosquitto(command: string, node: number, version: string, username: string, password: string): string[] {
  const port = `${cluster().node(node).ports.mqtt}`
  return ['stdbuf', '-oL', command, '-p', port, '-V', version, '-u', username, '-P', password]
}

async function failureOf(context: TestContext, command: readonly string[]): Promise<string> {
  try {
    await ForeignClient.run(context, command)
  } catch (error) {
    return String(error)
  }
  return 'none'
}

for (const version of ['311', '5']) {
  test(`mosquitto_pub and mosquitto_sub log in, and see what they may (version ${version})`, async (t) => {
    const reader = ForeignClient.start(t, [
      ...mosquitto('mosquitto_sub', 2, version, 'reader', passwordOf('reader')),
      ...['-d', '-t', 'sensors/#', '-C', '1', '-F', '=%t %p'],
    ])
    await reader.says(/Subscribed/)
    const sensor = mosquitto('mosquitto_pub', 1, version, 'sensor', passwordOf('sensor'))
    await ForeignClient.run(t, [...sensor, '-q', '1', '-t', 'sensors/other/t', '-m', 'not allowed'])
    await ForeignClient.run(t, [...sensor, '-q', '1', '-t', 'sensors/sensor/t', '-m', '21'])
    const lines = (await reader.finished()).filter((line) => line.startsWith('='))
    assert.deepEqual(lines, ['=sensors/sensor/t 21'])
  })

  test(`mosquitto_pub is told that its password is wrong (version ${version})`, async (t) => {
    const command = [...mosquitto('mosquitto_pub', 1, version, 'sensor', 'wrong'), '-t', 'sensors/sensor/t', '-m', 'x']
    const failure = await failureOf(t, command)
    assert.match(failure, version === '5' ? /Bad user ?name or password/i : /bad user name or password/i)
  })
}
