/**
 * Versions of the link protocol that this release speaks. A release speaks the version of the one before as well, so
 * that nodes of two neighboring releases work together (docs/link-protocol.md tells what each version brought).
 */

export const NEWEST_PROTOCOL_VERSION = 2
export const OLDEST_PROTOCOL_VERSION = 1
