/** A planted fault: a session that goes to another node leaves behind what waits for its client. */

import { MovingSessions } from '../../../../dist/broker/session-moves.js'

const { leave } = MovingSessions.prototype

MovingSessions.prototype.leave = function leaveWithoutQueue(...about) {
  const leaving = leave.apply(this, about)
  if (leaving !== undefined) leaving.messageAt = () => undefined
  return leaving
}
