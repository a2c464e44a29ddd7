/** The Node version and the npm packages that everything else needs. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, run, ScriptError } from './run-command.mjs'

/** As `engines.node` in package.json says. */
const LEAST_NODE = [20, 19]

export function requireNodeVersion() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) return
  throw new ScriptError(`ShoalMQ needs Node.js ${LEAST_NODE.join('.')} or newer; this is ${process.versions.node}.`)
}

/** Installs node_modules when it is missing or is not what package-lock.json says. */
export async function installDependencies() {
  if (isInstalled()) return
  console.log('Installing npm packages …')
  const code = await run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'])
  if (code !== 0) throw new ScriptError('npm ci failed: see above.')
}

function isInstalled() {
  const installedLock = join(ROOT, 'node_modules/.package-lock.json')
  if (!existsSync(installedLock)) return false
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages
  const installed = JSON.parse(readFileSync(installedLock, 'utf8')).packages
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    // The first entry is this project; optional packages may be for other systems.
    if (path === '' || (optional && installed[path] === undefined)) return true
    return installed[path]?.version === version
  })
}
