/**
 * Messages that say who sent them and which of his they are, so that loss, duplicates, disorder and strangers are told
 * apart after the fact.
 */

export interface DeliveryFaults {
  lost: string[]
  duplicated: string[]
  disordered: string[]
  foreign: string[]
}

export const NO_FAULTS: DeliveryFaults = { lost: [], duplicated: [], disordered: [], foreign: [] }

/** The payload of the `number`th message of a publisher; numbers start at 1. */
export function numbered(publisher: string, number: number): string {
  return `${publisher} ${number}`
}

/**
 * What one subscriber received against what each publisher sent (publisher → how many). Disordered is a message that
 * came for the first time after a later one of the same publisher.
 */
export function deliveryFaults(sent: Readonly<Record<string, number>>, payloads: readonly string[]): DeliveryFaults {
  const faults: DeliveryFaults = { lost: [], duplicated: [], disordered: [], foreign: [] }
  const seen = new Set<string>()
  const highest = new Map<string, number>()
  for (const payload of payloads) {
    const space = payload.lastIndexOf(' ')
    const publisher = payload.slice(0, space)
    const number = Number(payload.slice(space + 1))
    if (!(number >= 1 && number <= (sent[publisher] ?? 0))) faults.foreign.push(payload)
    else if (seen.has(payload)) faults.duplicated.push(payload)
    else {
      seen.add(payload)
      const last = highest.get(publisher) ?? 0
      if (number < last) faults.disordered.push(payload)
      highest.set(publisher, Math.max(last, number))
    }
  }
  for (const [publisher, count] of Object.entries(sent)) {
    for (let number = 1; number <= count; number += 1) {
      if (!seen.has(numbered(publisher, number))) faults.lost.push(numbered(publisher, number))
    }
  }
  return faults
}
