/**
 * `npm run test:containers`: the image, the compose file and the Kubernetes manifests, run for real. Uses the Docker
 * daemon of this machine where there is one, and otherwise podman: as it is installed, or as a setup script installs
 * it, which is found beside the repository or named by SHOALMQ_CONTAINERS_SETUP. Needs the ports that the compose
 * file publishes, and root where podman is used.
 */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Refusal, startPodman } from './podman.mjs'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** All of it: setup, builds and both clusters. Whatever hangs ends here. */
const TOTAL_LIMIT_MS = 20 * 60_000
/** The first step of a suite builds the image; no other comes near. */
const TEST_LIMIT_MS = 12 * 60_000

let tests
let podman
const deadline = setTimeout(() => {
  console.error(`test:containers: not done after ${TOTAL_LIMIT_MS / 60_000} minutes`)
  tests?.kill('SIGKILL')
}, TOTAL_LIMIT_MS)

// Ctrl-C reaches the tests by itself; whatever ends them, their containers are removed.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => tests?.kill('SIGTERM'))

try {
  podman = hasDocker() ? undefined : await startPodman()
  const environment = { ...process.env, ...(podman?.environment ?? { SHOALMQ_CONTAINERS_ENGINE: 'docker' }) }
  const options = ['--test-concurrency=1', '--test-reporter=spec', `--test-timeout=${TEST_LIMIT_MS}`]
  tests = spawn(process.execPath, ['--import', 'tsx', '--test', ...options, ...testFiles()], {
    cwd: ROOT,
    env: environment,
    stdio: 'inherit',
  })
  const [code] = await once(tests, 'exit')
  process.exitCode = code ?? 1
  if (code !== 0) removeLeftovers(environment)
} catch (error) {
  console.error(`test:containers: ${error instanceof Refusal ? error.message : error.stack}`)
  process.exitCode = 1
} finally {
  clearTimeout(deadline)
  podman?.stop()
}

/** By name, which is also their order: the compose file builds the image that the pods run. */
function testFiles() {
  const files = readdirSync(new URL('.', import.meta.url)).filter((file) => file.endsWith('.test.ts'))
  return files.sort().map((file) => `test/containers/${file}`)
}

/** Tests that failed have taken their containers down; tests that were ended have not. */
function removeLeftovers(env) {
  const project = ['-p', 'shoalmq-test', '-f', 'docker-compose.cluster.yml', 'down', '--volumes', '--remove-orphans']
  const compose = spawnSync('docker-compose', project, { cwd: ROOT, env, stdio: 'ignore' })
  if (compose.error !== undefined) spawnSync('docker', ['compose', ...project], { cwd: ROOT, env, stdio: 'ignore' })
  spawnSync('podman', ['pod', 'rm', '--force', '--ignore', 'shoalmq-0', 'shoalmq-1', 'shoalmq-2'], {
    env,
    stdio: 'ignore',
  })
}

/** The client alone is no daemon. */
function hasDocker() {
  return spawnSync('docker', ['info', '--format', '{{.ServerVersion}}'], { stdio: 'ignore' }).status === 0
}
