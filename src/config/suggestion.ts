/**
 * The candidate that is most like a mistyped word, or undefined when none is near: at most a third of the letters may
 * differ. Case, `_`, `-` and dots do not count.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  const plainWord = plain(word)
  let best: string | undefined
  let bestDistance = Math.floor(plainWord.length / 3) + 1
  for (const candidate of candidates) {
    const distance = editDistance(plainWord, plain(candidate))
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function plain(word: string): string {
  return word.toLowerCase().replaceAll(/[_.-]/g, '')
}

/** Insertions, deletions, changes and swaps of neighbors that turn one word into the other. */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1]
      let distance = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (isSame ? 0 : 1),
      )
      const isSwap = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      if (isSwap) distance = Math.min(distance, at(beforeLast, column - 2) + 1)
      current.push(distance)
    }
    beforeLast = last
    last = current
  }
  return at(last, to.length)
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY
}
