/** The programs that tests use beside Node, installed from Debian where they are missing. */

import { spawnSync } from 'node:child_process'
import { run, ScriptError } from './run-command.mjs'

/** Debian's own, which sees Debian's modules; another Python may come first in PATH. */
const SYSTEM_PYTHON = '/usr/bin/python3'

/** A package, and a command that works when it is there. */
const PACKAGES = [
  { name: 'mosquitto', probe: ['mosquitto', '-h'], service: 'mosquitto' },
  { name: 'mosquitto-clients', probe: ['mosquitto_pub', '--help'] },
  { name: 'redis-server', probe: ['redis-server', '--version'], service: 'redis-server' },
  { name: 'dnsmasq-base', probe: ['dnsmasq', '--version'] },
  { name: 'etcd-server', probe: ['etcd', '--version'], service: 'etcd' },
  { name: 'python3-paho-mqtt', probe: [SYSTEM_PYTHON, '-c', 'import paho.mqtt.client'] },
  { name: 'openssl', probe: ['openssl', 'version'] },
  // Sets the clocks of `npm run chaos`.
  { name: 'faketime', probe: ['faketime', '--version'] },
  // Plays the network between the hosts of `npm run chaos:mesh`, and of the other.
  { name: 'python3', probe: [SYSTEM_PYTHON, '--version'] },
  { name: 'iproute2', probe: ['ip', '-V'] },
]

/** Debian puts servers where only root looks. */
const SEARCH_PATH = `${process.env.PATH}:/usr/sbin:/sbin`

export async function installDebianPackages() {
  const missing = PACKAGES.filter(({ probe }) => !works(probe))
  if (missing.length === 0) return
  const names = missing.map(({ name }) => name)
  const asRoot = rootPrefix()
  if (!works(['apt-get', '--version']) || asRoot === undefined) {
    throw new ScriptError(`The tests need ${names.join(', ')}. As root: apt-get install ${names.join(' ')}`)
  }
  console.log(`Installing ${names.join(', ')} …`)
  // Servers are started by the tests that need them: no service is to start by being installed.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  const aptGet = [
    ...asRoot,
    'env',
    `DEBIAN_FRONTEND=${env.DEBIAN_FRONTEND}`,
    `RUNLEVEL=${env.RUNLEVEL}`,
    'apt-get',
    '-qq',
    '-y',
  ]
  const commands = [
    [...aptGet, 'update'],
    [...aptGet, '-o', 'DPkg::Lock::Timeout=120', 'install', '--no-install-recommends', ...names],
  ]
  for (const [file, ...parameters] of commands) {
    const code = await run(file, parameters, { env, stdio: ['ignore', 'ignore', 'inherit'] })
    if (code !== 0) throw new ScriptError(`${parameters.join(' ')} failed. The tests need ${names.join(', ')}.`)
  }
  for (const { service } of missing) {
    // Where the system started it all the same. Fails when it did not, which is as good.
    const [file, ...parameters] = [...asRoot, 'service', service, 'stop']
    if (service !== undefined) spawnSync(file, parameters, { stdio: 'ignore' })
  }
  const stillMissing = missing.filter(({ probe }) => !works(probe)).map(({ name }) => name)
  if (stillMissing.length > 0) throw new ScriptError(`${stillMissing.join(', ')}: installed, but does not run here.`)
}

function works([file, ...parameters]) {
  const { error, status } = spawnSync(file, parameters, { stdio: 'ignore', env: { ...process.env, PATH: SEARCH_PATH } })
  if (error !== undefined) return false
  // `mosquitto -h` shows its help with exit code 3; only Python tells a missing module by its exit code.
  return file !== SYSTEM_PYTHON || status === 0
}

/** Nothing for root, `sudo -n` where it works, undefined otherwise. */
function rootPrefix() {
  if (process.getuid?.() === 0) return []
  return spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0 ? ['sudo', '-n'] : undefined
}
