/** Podman behind its Docker-compatible API, where there is no Docker daemon. */

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Installs podman and, where there is no image registry, stand-ins for the public images; beside the repository. */
const SETUP =
  process.env.SHOALMQ_CONTAINERS_SETUP ?? fileURLToPath(new URL('../../../shared/containers/setup', import.meta.url))

const SETUP_LIMIT_MS = 6 * 60_000
const API_START_LIMIT_MS = 15_000
const COMMAND_LIMIT_MS = 60_000
const PROBE_IMAGE = 'docker.io/library/node:24-slim'

/** Ends the test run with a reason that its reader can act on. */
export class Refusal extends Error {}

/** Starts what compose talks to; `environment` is for every command that follows. */
export async function startPodman() {
  if (process.getuid?.() !== 0) throw new Refusal('no Docker daemon answers, and podman needs root here')
  if (existsSync(SETUP)) {
    const setup = spawnSync(SETUP, { stdio: 'inherit', timeout: SETUP_LIMIT_MS })
    if (setup.status !== 0) throw new Refusal(`${SETUP} failed`)
  }
  if (!succeeds('podman', ['--version'])) throw new Refusal('neither a Docker daemon nor podman, and no setup script')
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-podman-'))
  const socket = join(directory, 'podman.sock')
  const environment = {
    SHOALMQ_CONTAINERS_ENGINE: 'podman',
    DOCKER_HOST: `unix://${socket}`,
    ...(canEnterContainers() ? {} : { CONTAINERS_CONF: configureRuntime(directory) }),
  }
  const api = spawn('podman', ['system', 'service', '--time=0', environment.DOCKER_HOST], {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const stop = () => {
    api.kill('SIGTERM')
    rmSync(directory, { recursive: true, force: true })
  }
  const until = performance.now() + API_START_LIMIT_MS
  while (!succeeds('podman', ['--remote', '--url', environment.DOCKER_HOST, 'version'])) {
    if (performance.now() < until && api.exitCode === null) continue
    stop()
    throw new Refusal("podman's API does not answer")
  }
  return { environment, stop }
}

/** Podman sets resource limits for each command in a container, which not every machine lets it do. */
function canEnterContainers() {
  const name = `shoalmq-probe-${process.pid}`
  const started = succeeds('podman', ['run', '--detach', '--name', name, PROBE_IMAGE, 'sleep', '60'])
  const entered = succeeds('podman', ['exec', name, 'true'])
  succeeds('podman', ['rm', '--force', '--time', '0', name])
  if (!started) throw new Refusal(`podman cannot run ${PROBE_IMAGE}`)
  return entered
}

/** A runtime that passes everything on to the one that podman would use, without the limits of an exec's process. */
function configureRuntime(directory) {
  const { stdout } = spawnSync('podman', ['info', '--format', '{{.Host.OCIRuntime.Path}}'], { encoding: 'utf8' })
  const runtime = join(directory, 'runtime')
  const edit = `const fs = require("node:fs"), file = process.argv[1], process_ = JSON.parse(fs.readFileSync(file));
    delete process_.rlimits; fs.writeFileSync(file, JSON.stringify(process_))`
  writeFileSync(
    runtime,
    `#!/bin/sh
previous= file=
for argument in "$@"; do
  [ "$previous" = --process ] && file=$argument
  previous=$argument
done
[ -z "$file" ] || '${process.execPath}' -e '${edit}' "$file"
exec '${stdout.trim()}' "$@"
`,
    { mode: 0o755 },
  )
  const file = join(directory, 'containers.conf')
  writeFileSync(file, `[engine]\nruntime = "shoalmq"\n[engine.runtimes]\nshoalmq = ["${runtime}"]\n`)
  return file
}

function succeeds(command, parameters) {
  return spawnSync(command, parameters, { stdio: 'ignore', timeout: COMMAND_LIMIT_MS }).status === 0
}
