/** Where clients go that this node does not serve, now or any more. [MQTT 5.0 section 4.11] */

import type { MqttOptions } from '../config/options.js'
import type { DisconnectPacket, ResponseProperties } from './wire/packets.js'
import { ReasonCode } from './wire/reason-codes.js'

/** Says another server with its reason code; undefined where the reason is the client's, or none is configured. */
export function redirectionOf(
  reasonCode: number,
  { serverReference, serverMoved }: MqttOptions,
): { readonly reasonCode: number; readonly serverReference: string } | undefined {
  if (serverReference === '' || !isOfServer(reasonCode)) return undefined
  return { reasonCode: serverMoved ? ReasonCode.ServerMoved : ReasonCode.UseAnotherServer, serverReference }
}

/** The DISCONNECT of a server that ends a connection, with where to go instead where that may help. */
export function disconnectFor(reasonCode: number, problem: ResponseProperties, options: MqttOptions): DisconnectPacket {
  const redirection = redirectionOf(reasonCode, options)
  if (redirection === undefined) return { cmd: 'disconnect', reasonCode, properties: problem }
  const properties = { ...problem, serverReference: redirection.serverReference }
  return { cmd: 'disconnect', reasonCode: redirection.reasonCode, properties }
}

/** Whether the server has no room or no time, so that another one may. */
function isOfServer(reasonCode: number): boolean {
  switch (reasonCode) {
    case ReasonCode.ServerUnavailable:
    case ReasonCode.ServerBusy:
    case ReasonCode.ServerShuttingDown:
    case ReasonCode.ConnectionRateExceeded:
    case ReasonCode.UseAnotherServer:
      return true
    default:
      return false
  }
}
