import { type ExecFileOptionsWithStringEncoding, execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

const run = promisify(execFile)

/** Building the image installs its dependencies. */
const COMMAND_LIMIT_MS = 10 * 60_000
const OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024

/** What the runner found: a Docker daemon, or podman behind the same API. */
export const ENGINE = process.env.SHOALMQ_CONTAINERS_ENGINE === 'docker' ? 'docker' : 'podman'

/** Runs a command at the top of the repository; an exit code other than 0 is an error with what it wrote. */
export async function execute(
  command: string,
  parameters: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  try {
    const { stdout } = await run(command, parameters, optionsWith(environment))
    return stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    throw new Error(`${command} ${parameters.join(' ')} failed:\n${stdout}${stderr}`, { cause: error })
  }
}

/** The exit code of a command that may fail. */
export async function exitCodeOf(
  command: string,
  parameters: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<number> {
  try {
    await run(command, parameters, optionsWith(environment))
    return 0
  } catch (error) {
    const { code } = error as { code?: unknown }
    if (typeof code === 'number') return code
    throw error
  }
}

function optionsWith(environment: Readonly<Record<string, string>>): ExecFileOptionsWithStringEncoding {
  const env = { ...process.env, ...environment }
  return { cwd: ROOT, env, timeout: COMMAND_LIMIT_MS, maxBuffer: OUTPUT_LIMIT_BYTES, encoding: 'utf8' }
}

/** What the engine knows about a container. */
export interface ContainerState {
  State: { Status: string; ExitCode: number; Running: boolean }
  Config: { User: string; Healthcheck?: { Test: string[] } }
}

export async function inspect(container: string, engine: typeof ENGINE = ENGINE): Promise<ContainerState> {
  const [state] = JSON.parse(await execute(engine, ['inspect', container])) as ContainerState[]
  if (state === undefined) throw new Error(`no container ${container}`)
  return state
}

/** Asks `GET path` of an HTTP server for its status; 0 while nobody answers. */
export async function httpStatus(url: string): Promise<number> {
  try {
    const response = await fetch(url)
    await response.body?.cancel()
    return response.status
  } catch {
    return 0
  }
}

/** `docker-compose` where it is, else the plugin of the same name. */
export class Compose {
  private readonly command: string
  private readonly prefix: readonly string[]

  constructor(
    file: string,
    project: string,
    private readonly environment: Readonly<Record<string, string>>,
  ) {
    const hasStandalone = spawnSync('docker-compose', ['version'], { stdio: 'ignore' }).status === 0
    this.command = hasStandalone ? 'docker-compose' : 'docker'
    this.prefix = [...(hasStandalone ? [] : ['compose']), '-p', project, '-f', file]
  }

  run(...parameters: readonly string[]): Promise<string> {
    return execute(this.command, [...this.prefix, ...parameters], this.environment)
  }

  /** Runs a command in a service's container. */
  exec(service: string, ...command: readonly string[]): Promise<string> {
    return this.run('exec', '-T', service, ...command)
  }

  /** The exit code of a command in a service's container. */
  execCode(service: string, ...command: readonly string[]): Promise<number> {
    return exitCodeOf(this.command, [...this.prefix, 'exec', '-T', service, ...command], this.environment)
  }

  /** ID of a service's container, running or not. */
  async containerOf(service: string): Promise<string> {
    const [id] = (await this.run('ps', '-q', ...(this.command === 'docker' ? ['-a'] : []), service)).trim().split('\n')
    if (id === undefined || id === '') throw new Error(`no container for ${service}`)
    return id
  }
}
