import { readFileSync } from 'node:fs'

/** ShoalMQ's version, from package.json: the same file beside `src` and beside `dist`. */
export const VERSION: string = readVersion()

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
