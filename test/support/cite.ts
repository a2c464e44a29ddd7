import type { Version } from './client.js'

/** Numbers of statements, such as `3.1.0-2 3.1.4-1`, in the numbering of each version. */
export type Citation = Partial<Record<Version, string>>

/**
 * The beginning of a test's name: the statements that it proves for the version it runs with, as docs/conformance.md
 * finds them. MQTT 5.0 and 3.1.1 number the same rules differently. Empty where that version has no such statement.
 */
export function cite(version: Version, { 5: v5 = '', 4: v4 = '' }: Citation): string {
  const [numbers, document] = version === 5 ? [v5, ''] : [v4, 'MQTT 3.1.1: ']
  return numbers
    .split(' ')
    .filter((number) => number !== '')
    .map((number) => `[${document}MQTT-${number}]`)
    .join(' ')
}
