import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A cold `apt-get update` and install may take a while on a slow mirror. */
const INSTALL_TIMEOUT_MS = 180_000

/** Installs what is missing of these Debian packages; says which and why when it cannot. */
export async function ensureDebianPackages(...packages: readonly string[]): Promise<void> {
  const missing: string[] = []
  for (const name of packages) if (!(await isInstalled(name))) missing.push(name)
  if (missing.length === 0) return
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  // Test files run side by side and dpkg lets in one at a time: wait for its lock.
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n']
  const aptGet = [...asRoot, 'apt-get', '-q', '-y', '-o', 'DPkg::Lock::Timeout=120']
  try {
    await execute([...aptGet, 'update'], environment)
    await execute([...aptGet, 'install', '--no-install-recommends', ...missing], environment)
  } catch (error) {
    throw new Error(`these tests need the Debian packages ${missing.join(', ')}: ${String(error)}`, { cause: error })
  }
}

async function isInstalled(name: string): Promise<boolean> {
  try {
    const { stdout } = await run('dpkg', ['--status', name])
    return stdout.includes('\nStatus: install ok installed\n')
  } catch (error) {
    // dpkg exits with 1 for a package it has never heard of; anything else means that this is no Debian.
    if ((error as { code?: unknown }).code === 1) return false
    throw error
  }
}

async function execute(command: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const [file = '', ...parameters] = command
  await run(file, parameters, { env, timeout: INSTALL_TIMEOUT_MS })
}
