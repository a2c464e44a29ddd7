/** What a process has used, from /proc. */

import { readFileSync } from 'node:fs'

/** Clock ticks per second; the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** @param {number} pid @returns {number} seconds of processor time until now */
export function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // Behind the name of the program, which may hold anything: state is the first field, user and system time 12th and 13th.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** @param {number} pid @returns {number} resident bytes */
export function residentBytes(pid) {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1] ?? 0) * 1024
}

/** @param {string} device @returns {number} bytes that a network device has sent, of this process's network namespace */
export function sentBytes(device) {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((one) => one.trim().startsWith(`${device}:`))
  return Number(line?.split(':')[1]?.trim().split(/\s+/)[8] ?? 0)
}

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? 0
}
