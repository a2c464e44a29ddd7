#!/usr/bin/env node
/** `npm run build`: src to dist, unless dist is already what the sources say. */

import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installDependencies, requireNodeVersion } from './dependencies.mjs'
import { ROOT, run, runScript, ScriptError } from './run-command.mjs'

const DIST = join(ROOT, 'dist')
/** Built beside and renamed, so that dist is whole or absent, whatever happens meanwhile. */
const NEXT = join(ROOT, 'dist.next')
const BIN = join(DIST, 'cli/cli.js')
/** Hash of the sources that dist was built from. */
const STAMP = join(DIST, '.sources')

/** Builds when needed; throws a ScriptError when the compiler finds errors. */
export async function build() {
  const sources = hashSources()
  if (existsSync(BIN) && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === sources) {
    // A checkout may have made the sources look newer than what was built from the same content.
    const now = new Date()
    utimesSync(BIN, now, now)
    linkBin()
    return
  }
  console.log('Building …')
  try {
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc')
    const code = await run(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', NEXT])
    if (code !== 0) throw new ScriptError('The build failed: see the errors above.')
    rmSync(DIST, { recursive: true, force: true })
    renameSync(NEXT, DIST)
  } finally {
    rmSync(NEXT, { recursive: true, force: true })
  }
  chmodSync(BIN, 0o755)
  linkBin()
  writeFileSync(STAMP, sources)
}

/** `npx shoalmq` runs this build, without npm having to install the package into itself. */
function linkBin() {
  const directory = join(ROOT, 'node_modules/.bin')
  const link = join(directory, 'shoalmq')
  mkdirSync(directory, { recursive: true })
  rmSync(link, { force: true })
  symlinkSync('../../dist/cli/cli.js', link)
}

function hashSources() {
  const hash = createHash('sha256')
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  const settings = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json'].map((name) => join(ROOT, name))
  for (const file of [...files.sort(), ...settings])
    hash.update(file.slice(ROOT.length)).update('\0').update(readFileSync(file))
  return hash.digest('hex')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runScript(async () => {
    requireNodeVersion()
    await installDependencies()
    await build()
    return 0
  })
}
