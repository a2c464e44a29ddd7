import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parsePskFile } from '../../../src/config/psk-file.js'

const KEY = '00112233445566778899aabbccddeeff'

test('identities and keys are read, comments and empty lines skipped', () => {
  const { keys, problems } = parsePskFile(`# keys\n\ndevice-1:${KEY}\r\nurn:device:2:${KEY.toUpperCase()}\n`)
  assert.deepEqual(problems, [])
  assert.deepEqual([...keys.keys()], ['device-1', 'urn:device:2'])
  assert.deepEqual(keys.get('device-1'), Buffer.from(KEY, 'hex'))
  assert.deepEqual(keys.get('urn:device:2'), Buffer.from(KEY, 'hex'))
})

test('what is wrong is said by line, and never with the line', () => {
  const lines = [
    `no-colon-${KEY}`,
    `:${KEY}`,
    'short:0011223344',
    `odd:${KEY}0`,
    `letters:${KEY}xy`,
    `${'i'.repeat(129)}:${KEY}`,
    `twice:${KEY}`,
    `twice:${KEY}`,
    `long:${KEY.repeat(5)}`,
  ]
  const { problems } = parsePskFile(lines.join('\n'))
  assert.deepEqual(
    problems.map(({ line, message }) => `${line}: ${message}`),
    [
      '1: expected identity:key',
      '2: the identity is empty',
      '3: the key has 5 bytes, expected 16 to 64',
      '4: the key is not in hexadecimal, two digits for each byte',
      '5: the key is not in hexadecimal, two digits for each byte',
      '6: the identity is longer than 128 bytes',
      '8: the identity stands on an earlier line',
      '9: the key has 80 bytes, expected 16 to 64',
    ],
  )
  assert.doesNotMatch(JSON.stringify(problems), /0011|ccdd/)
})
