/** What a requester builds its response topics from. [MQTT 5.0 section 3.2.2.3.15] */

import { CLIENT_ID_PLACE } from '../config/mqtt-feature-options.js'
import type { MqttOptions } from '../config/options.js'
import type { ConnectPacket } from './wire/packets.js'

/** For CONNACK, when the client has asked for it; undefined when it has not, or there is none for it. */
export function responseInformationOf(
  clientId: string,
  { properties }: ConnectPacket,
  { responseInformation }: MqttOptions,
): string | undefined {
  // Not asked for means not wanted. [MQTT 5.0 section 3.1.2.11.6]
  if (properties.requestResponseInformation !== true || responseInformation === '') return undefined
  if (!responseInformation.includes(CLIENT_ID_PLACE)) return responseInformation
  // A client ID of several levels would reach into what is another client's, and wildcards are no topic name.
  if (/[/+#]/.test(clientId)) return undefined
  return responseInformation.replaceAll(CLIENT_ID_PLACE, () => clientId)
}
