/** From an input that fails to a shorter one that fails too. */

/**
 * Removes runs of bytes for as long as `fails` stays true: first long runs, then single bytes.
 * @param attempts how often `fails` may be asked
 */
export async function shrink(
  bytes: Buffer,
  fails: (bytes: Buffer) => boolean | Promise<boolean>,
  attempts: number,
): Promise<Buffer> {
  let shortest = bytes
  let left = attempts
  for (let size = Math.ceil(bytes.length / 2); size >= 1; size = Math.floor(size / 2)) {
    let at = 0
    while (at < shortest.length && left > 0) {
      const shorter = Buffer.concat([shortest.subarray(0, at), shortest.subarray(at + size)])
      left -= 1
      if (shorter.length > 0 && (await fails(shorter))) shortest = shorter
      else at += size
    }
  }
  return shortest
}
