import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { parseHostPort } from '../../../src/config/addresses.js'
import { environmentName } from '../../../src/config/catalog.js'
import { listenerSettings } from '../../../src/config/listener-options.js'
import { ConfigError, loadConfig } from '../../../src/config/load.js'
import type { Config } from '../../../src/config/options.js'
import { temporaryFile } from '../../support/temporary-file.js'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const NODES = ['n1', 'n2', 'n3'] as const
const SECRET_FILE = environmentName(['cluster', 'secretFile'])

interface ComposeService {
  image: string
  environment: Record<string, string | number>
  ports: string[]
  volumes: string[]
  networks: Record<string, { aliases: string[] }>
}

interface Compose {
  services: Record<string, ComposeService>
  volumes: Record<string, unknown>
}

const compose = parse(readFileSync(join(ROOT, 'docker-compose.cluster.yml'), 'utf8'), { merge: true }) as Compose
const packageVersion = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version

function service(name: string): ComposeService {
  const found = compose.services[name]
  assert.ok(found, `no service ${name}`)
  return found
}

/** What a node of the compose file would load; the secret is read from `secretFile` rather than from the volume. */
function configOf(name: string, secretFile = temporaryFile('secret', 'a secret of the cluster')): Config {
  const { environment } = service(name)
  const env = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, String(value)]))
  assert.equal(env[SECRET_FILE], '/run/shoalmq/secret')
  return loadConfig({ env: { ...env, [SECRET_FILE]: secretFile }, flags: {} })
}

describe('the compose file', () => {
  test('gives each node a configuration that it accepts, under its own name', () => {
    for (const name of NODES) {
      const config = configOf(name)
      assert.equal(config.name, `${name}@${name}`)
      assert.equal(config.cluster.discovery, 'dns')
      assert.deepEqual(service(name).networks.cluster?.aliases, [config.cluster.dns.name])
      assert.equal(config.cluster.dns.port, parseHostPort(config.cluster.listen).port)
    }
  })

  test('brings no secret of its own, and a node without one refuses to start', () => {
    for (const name of NODES) assert.equal(service(name).environment[environmentName(['cluster', 'secret'])], undefined)
    assert.throws(() => configOf('n1', temporaryFile('secret', '\n')), ConfigError)
  })

  test('publishes what the nodes open for clients and Prometheus, to this machine unless told otherwise', () => {
    NODES.forEach((name, index) => {
      const config = configOf(name)
      const [mqtt, ws] = listenerSettings(config).map(({ address }) => address.port) as [number, number]
      const adminPort = parseHostPort(config.admin.listen).port
      assert.deepEqual(service(name).ports, [
        `\${SHOALMQ_BIND:-127.0.0.1}:${1883 + index}:${mqtt}`,
        `\${SHOALMQ_BIND:-127.0.0.1}:${8083 + index}:${ws}`,
        `\${SHOALMQ_ADMIN_BIND:-127.0.0.1}:${18083 + index}:${adminPort}`,
      ])
    })
  })

  test('gives each node a volume of its own', () => {
    const sources = NODES.flatMap((name) =>
      service(name).volumes.filter((volume) => volume.endsWith(':/var/lib/shoalmq')),
    )
    assert.deepEqual(
      sources.map((volume) => volume.split(':')[0]),
      NODES.map((name) => `${name}-data`),
    )
    for (const name of NODES) assert.ok(`${name}-data` in compose.volumes)
  })

  test('has its Prometheus scrape the admin port of each node', () => {
    const scrape = parse(readFileSync(join(ROOT, 'deploy/prometheus.yml'), 'utf8')) as {
      scrape_configs: { static_configs: { targets: string[] }[] }[]
    }
    const targets = scrape.scrape_configs.flatMap(({ static_configs }) => static_configs.flatMap((one) => one.targets))
    assert.deepEqual(
      targets,
      NODES.map((name) => `${name}:${parseHostPort(configOf(name).admin.listen).port}`),
    )
  })

  test('runs the version of this package', () => {
    for (const name of [...NODES, 'secret']) assert.equal(service(name).image, `shoalmq:${packageVersion}`)
  })
})
