/** Aligned columns for a terminal. */

export interface Column<Row> {
  title: string
  read(row: Row): string
  /** Numbers stand to the right. */
  alignRight?: boolean
}

/** Between two columns. */
const GAP = '   '

/** The lines of a table, title first, without trailing space. */
export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string[] {
  const cells = [columns.map((column) => column.title), ...rows.map((row) => columns.map((column) => column.read(row)))]
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)))
  return cells.map((line) =>
    line
      .map((cell, index) => {
        const width = widths[index] ?? 0
        return columns[index]?.alignRight === true ? cell.padStart(width) : cell.padEnd(width)
      })
      .join(GAP)
      .trimEnd(),
  )
}
