/** Where a peer may be dialed: the address that it advertises, and those where it was found. */

/** Kept of one peer. */
const MAXIMUM_ADDRESSES = 4

export class PeerAddresses {
  private known: string[] = []

  /** host:port each, the advertised one first. */
  get all(): readonly string[] {
    return this.known
  }

  /** The one that the peer advertises; '' when only its name is known. */
  get first(): string {
    return this.known[0] ?? ''
  }

  /** Takes note of an address; the advertised one goes first. */
  add(address: string, isAdvertised: boolean): void {
    const others = this.known.filter((known) => known !== address)
    this.known = isAdvertised ? [address, ...others] : [...others, address]
    if (this.known.length > MAXIMUM_ADDRESSES) this.known.length = MAXIMUM_ADDRESSES
  }

  remove(address: string): void {
    this.known = this.known.filter((known) => known !== address)
  }
}
