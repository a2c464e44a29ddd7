import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { createNode, type Node } from '../../src/index.js'
import { createLogger } from '../../src/telemetry/logger.js'
import { CertificateAuthority, readKeyPair } from '../support/certificates.js'
import { clientFor, type TestClientOptions, type Version } from '../support/client.js'
import { ensureDebianPackages } from '../support/debian.js'
import { eventually } from '../support/eventually.js'
import { passwordOf, usersFile } from '../support/users.js'

const VERSIONS: readonly Version[] = [4, 5]
const KEY = '00112233445566778899aabbccddeeff'

let node: Node
let directory: string
let authority: CertificateAuthority
/** Addresses of listeners: certificates as user names, as client IDs too by WebSocket, pre-shared keys, and TLS alone. */
let byCertificate: string
let byWebSocket: string
let byKey: string
let plain: string

before(
  async () => {
    await ensureDebianPackages('openssl')
    authority = new CertificateAuthority()
    directory = mkdtempSync(join(tmpdir(), 'shoalmq-names-'))
    const server = authority.server()
    const mutual = { ...server, caFile: authority.caFile, verify: 'required' } as const
    node = createNode(
      {
        data: join(directory, 'data'),
        listen: [
          { url: 'mqtts://127.0.0.1:0', tls: { ...mutual, peerCertAs: { username: 'cn' } } },
          { url: 'wss://127.0.0.1:0/mqtt', tls: { ...mutual, peerCertAs: { username: 'dn', clientId: 'cn' } } },
          { url: 'mqtts://127.0.0.1:0', tls: { pskFile: authority.file('keys', `meter-7:${KEY}\n`) } },
          { url: 'mqtts://127.0.0.1:0', tls: server },
        ],
        access: { usersFile: authority.file('users', await usersFile('alice')) },
        admin: { listen: '127.0.0.1:0' },
        cluster: { listen: 'off' },
      },
      createLogger({ level: 'silent', format: 'json' }, {}),
    )
    await node.start()
    ;[byCertificate = '', byWebSocket = '', byKey = '', plain = ''] = node.listening
  },
  { timeout: 240_000 },
)

after(async () => {
  await node.stop()
  rmSync(directory, { recursive: true })
})

/** A client with a certificate of this subject; without one for the whole of the authority. */
function shown(subject: string): TestClientOptions {
  return { ca: authority.ca, ...readKeyPair(authority.issue({ subject })) }
}

/** Who a client is as the node has it. */
async function identityOf(
  t: TestContext,
  url: string,
  options: TestClientOptions,
): Promise<[id: string, user: string]> {
  const client = await clientFor(t, url, options)
  // The one before may still be on its way out.
  const identity = await eventually(async () => {
    const answer = await fetch(`http://${node.adminAddress}/api/v1/clients`)
    const { data } = (await answer.json()) as { data: { clientId: string; username: string }[] }
    assert.equal(data.length, 1)
    return data[0]
  })
  // It is a connection like any other.
  await client.subscribe('own', 1)
  await client.publish('own', 'said', { qos: 1 })
  await client.end()
  return [identity?.clientId ?? '', identity?.username ?? '']
}

for (const version of VERSIONS) {
  const v = `(version ${version})`

  test(`the common name of a certificate is the user name, whatever the client says, and needs no password ${v}`, async (t) => {
    const options = { ...shown('/O=Acme/CN=pump-7'), version, clientId: 'chosen', username: 'alice', password: 'wrong' }
    assert.deepEqual(await identityOf(t, byCertificate, options), ['chosen', 'pump-7'])
  })

  test(`by secured WebSocket the subject is the user name and the common name the client ID, where that is asked for ${v}`, async (t) => {
    const options = { ...shown('/O=Acme/CN=pump-8'), version, clientId: 'chosen' }
    assert.deepEqual(await identityOf(t, byWebSocket, options), ['pump-8', 'CN=pump-8,O=Acme'])
  })

  test(`a certificate without the name that is asked for gets nobody in ${v}`, async (t) => {
    await assert.rejects(clientFor(t, byCertificate, { ...shown('/O=Acme'), version, username: 'alice' }), {
      code: version === 5 ? 0x87 : 5,
    })
  })

  test(`the identity of a pre-shared key is the user name ${v}`, async (t) => {
    const options = {
      ...{ version, clientId: 'chosen', username: 'alice', ciphers: 'PSK:TLS_AES_128_GCM_SHA256' },
      pskCallback: () => ({ psk: Buffer.from(KEY, 'hex'), identity: 'meter-7' }),
      checkServerIdentity: () => undefined,
    } as TestClientOptions
    assert.deepEqual(await identityOf(t, byKey, options), ['chosen', 'meter-7'])
  })

  test(`TLS that proves no name leaves it to the password ${v}`, async (t) => {
    const options = { ca: authority.ca, version, clientId: 'chosen', username: 'alice' }
    await assert.rejects(clientFor(t, plain, { ...options, password: 'wrong' }), { code: version === 5 ? 0x86 : 4 })
    assert.deepEqual(await identityOf(t, plain, { ...options, password: passwordOf('alice') }), ['chosen', 'alice'])
  })
}
