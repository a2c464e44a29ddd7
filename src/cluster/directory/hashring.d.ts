/** The part of `hashring` that is used here; the package has no types of its own. */
declare module 'hashring' {
  interface HashRingOptions {
    /** Keys whose place is remembered; at least 1. */
    'max cache size'?: number
  }

  export default class HashRing {
    constructor(servers: readonly string[], algorithm?: string, options?: HashRingOptions)
    /** The server of a key; undefined on an empty ring. */
    get(key: string): string | undefined
    /** The servers of so many different ones behind the place of a key. */
    range(key: string, size: number): string[]
  }
}
