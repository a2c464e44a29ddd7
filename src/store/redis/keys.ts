/**
 * Names of keys: `{prefix}{{cluster}/{node}}:…`, such as `shoalmq:{shoalmq/n1@10.0.0.1}:table:delayed`. What stands in
 * the inner braces is the hash tag of Redis Cluster: all keys of a node are in one slot, and change in one step.
 */

/** Of the layout of keys and values as a whole; a node reads this version and no later one. */
export const SCHEMA_VERSION = 1

export class NodeKeys {
  private readonly base: string

  /**
   * @param prefix without braces
   * @param part behind the braces: of an estate
   */
  constructor(
    private readonly prefix: string,
    private readonly cluster: string,
    private readonly node: string,
    part = '',
  ) {
    this.base = `${prefix}{${encodeURIComponent(cluster)}/${encodeName(node)}}${part}`
  }

  /** A hash: who writes here, and how far it has come. */
  get state(): string {
    return `${this.base}:state`
  }

  /** A hash: the keys of a table and their values. */
  table(name: string): string {
    return `${this.base}:table:${name}`
  }

  /** A hash: what the node has left of lives before, by the token of the life, and who its heir is. */
  get estates(): string {
    return `${this.base}:estates`
  }

  /** The keys of an estate: those of the node, with the name of the estate between. */
  estate(token: string): NodeKeys {
    return new NodeKeys(this.prefix, this.cluster, this.node, `:estate:${token}`)
  }

  /** A hash: the numbers of a shelf, in decimal, and their values. */
  shelf(name: string): string {
    return `${this.base}:shelf:${name}`
  }
}

/** `@` and `:` of a node name stay as they are, for those who read keys. */
function encodeName(node: string): string {
  return encodeURIComponent(node).replaceAll('%40', '@').replaceAll('%3A', ':')
}
