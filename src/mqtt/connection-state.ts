/** The states of a connection and the way between them; `Connection` says what each means. */

import assert from 'node:assert'

export type ConnectionState = 'waiting' | 'opening' | 'open' | 'closed'

const NEXT_STATES: Readonly<Record<ConnectionState, readonly ConnectionState[]>> = {
  waiting: ['opening', 'closed'],
  opening: ['open', 'closed'],
  open: ['closed'],
  closed: [],
}

/** The state that follows. @throws AssertionError where there is no way. */
export function nextState(current: ConnectionState, next: ConnectionState): ConnectionState {
  assert(NEXT_STATES[current].includes(next), `${current} to ${next}`)
  return next
}
