import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const directories: string[] = []

process.once('exit', () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

/** Path of a new file of this name and content, in a directory of its own; gone when the process ends. */
export function temporaryFile(name: string, content: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-test-'))
  directories.push(directory)
  const file = join(directory, name)
  writeFileSync(file, content)
  return file
}
