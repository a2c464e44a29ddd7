/** One connection of `pub` or `sub`: dialed once, its failures said in one line. */

import { connect, ErrorWithReasonCode, type MqttClient } from 'mqtt'
import { CliError, networkReason } from './cli-error.js'
import { brokerAddress, brokerUrl, clientOptions, type MqttFlags } from './mqtt-flags.js'

/** How long a closing connection may take to say goodbye. */
const END_TIMEOUT_MS = 3_000

export interface MqttSession {
  client: MqttClient
  /** host:port, for messages. */
  address: string
  /** Rejects when the connection ends before `end` is called; never resolves. */
  lost: Promise<never>
  /** Sends DISCONNECT and closes. */
  end(): Promise<void>
}

/**
 * Connects; `prepare` sees the client before CONNACK, so that messages which follow it at once are not missed.
 * @throws CliError that names host and port.
 */
export async function openSession(flags: MqttFlags, prepare?: (client: MqttClient) => void): Promise<MqttSession> {
  const address = brokerAddress(flags)
  const client = connect(brokerUrl(flags), clientOptions(flags))
  if (flags.debug === true) traceTo(client, (line) => process.stderr.write(`${line}\n`))
  prepare?.(client)
  await whenConnected(client, address)
  let isEnding = false
  const lost = new Promise<never>((_, reject) => {
    client.on('error', (error) => reject(new CliError(`${address}: ${errorText(error)}`, undefined, { cause: error })))
    client.on('disconnect', (packet) => {
      const code = packet.reasonCode ?? 0
      if (!isEnding) reject(new CliError(`${address} closed the connection with reason code 0x${code.toString(16)}`))
    })
    client.on('close', () => {
      if (!isEnding) reject(new CliError(`the connection to ${address} is lost`))
    })
  })
  // Whoever does not wait for it is not to die of it.
  lost.catch(() => undefined)
  const end = async (): Promise<void> => {
    isEnding = true
    await new Promise<void>((resolve) => {
      const giveUp = setTimeout(() => {
        client.stream.destroy()
        resolve()
      }, END_TIMEOUT_MS)
      client.end(false, () => {
        clearTimeout(giveUp)
        resolve()
      })
    })
  }
  return { client, address, lost, end }
}

async function whenConnected(client: MqttClient, address: string): Promise<void> {
  let settle = (): void => undefined
  try {
    await new Promise<void>((resolve, reject) => {
      const onConnect = (): void => resolve()
      const onError = (error: Error): void => reject(connectError(address, error))
      const onClose = (): void => reject(new CliError(`cannot connect to ${address}: the connection was closed`))
      client.on('connect', onConnect).on('error', onError).on('close', onClose)
      settle = () => client.off('connect', onConnect).off('close', onClose).off('error', onError)
    })
    settle()
  } catch (error) {
    // The listeners stay: a second error of the same failure is not to be an uncaught one.
    client.end(true)
    throw error
  }
}

function connectError(address: string, error: Error): CliError {
  if (error instanceof ErrorWithReasonCode) {
    const reason = error.message.replace(/^Connection refused: /, '')
    return new CliError(`${address} refuses the connection: ${reason || `reason code ${error.code}`}`, undefined, {
      cause: error,
    })
  }
  const reason = error.message === 'connack timeout' ? 'no answer to CONNECT' : networkReason(error)
  return new CliError(`cannot connect to ${address}: ${reason}`, undefined, { cause: error })
}

function errorText(error: Error): string {
  return error instanceof ErrorWithReasonCode ? error.message : networkReason(error)
}

function traceTo(client: MqttClient, write: (line: string) => void): void {
  client.on('packetsend', (packet) => write(`sent ${packet.cmd.toUpperCase()}${packetNumber(packet)}`))
  client.on('packetreceive', (packet) => write(`received ${packet.cmd.toUpperCase()}${packetNumber(packet)}`))
}

function packetNumber(packet: object): string {
  return 'messageId' in packet && typeof packet.messageId === 'number' ? ` (packet id ${packet.messageId})` : ''
}
