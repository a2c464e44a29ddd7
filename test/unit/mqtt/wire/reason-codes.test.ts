import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connackReturnCode, MqttError, ReasonCode, reasonName } from '../../../../src/mqtt/wire/reason-codes.js'

test('every reason code has a name, and no other number has one', () => {
  const codes = new Set<number>(Object.values(ReasonCode))
  assert.equal(codes.size, 43)
  for (let code = 0; code < 256; code++) {
    assert.equal(reasonName(code) !== 'Unknown', codes.has(code), `0x${code.toString(16)}`)
  }
  assert.equal(reasonName(0x8e), 'Session taken over')
})

test('a 3.1.1 client is answered with the return code that says the same [MQTT 3.1.1 section 3.2.2.3]', () => {
  for (const [reasonCode, returnCode] of [
    [ReasonCode.Success, 0],
    [ReasonCode.UnsupportedProtocolVersion, 1],
    [ReasonCode.ClientIdentifierNotValid, 2],
    [ReasonCode.ServerUnavailable, 3],
    [ReasonCode.ServerBusy, 3],
    [ReasonCode.QuotaExceeded, 3],
    [ReasonCode.BadUserNameOrPassword, 4],
    [ReasonCode.NotAuthorized, 5],
    [ReasonCode.Banned, 5],
  ] as const) {
    assert.equal(connackReturnCode(reasonCode), returnCode, reasonName(reasonCode))
  }
  for (let code = 0x80; code <= 0xff; code++) assert.ok(connackReturnCode(code) >= 1 && connackReturnCode(code) <= 5)
})

test('an MqttError carries its reason code and what was wrong', () => {
  const error = new MqttError(ReasonCode.PacketTooLarge, 'over the limit')
  assert.ok(error instanceof Error)
  assert.deepEqual([error.name, error.reasonCode, error.message], ['MqttError', 0x95, 'over the limit'])
})
