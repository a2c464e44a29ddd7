/** Bytes that real clients have sent in real sessions: `record.ts` writes them down, in hexadecimal. */

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface Capture {
  name: string
  bytes: Buffer
}

export const CAPTURES = fileURLToPath(new URL('./captures/', import.meta.url))

export function loadCaptures(): Capture[] {
  return readdirSync(CAPTURES)
    .filter((file) => file.endsWith('.hex'))
    .sort()
    .map((file) => ({
      name: file.slice(0, -'.hex'.length),
      bytes: Buffer.from(readFileSync(`${CAPTURES}${file}`, 'latin1').replaceAll(/\s/g, ''), 'hex'),
    }))
}
