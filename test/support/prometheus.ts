/** One scrape, as a Prometheus server would read it. */
export class Scrape {
  private readonly series: { name: string; labels: Record<string, string>; value: number }[] = []

  constructor(text: string) {
    for (const line of text.split('\n')) {
      if (line === '' || line.startsWith('#')) continue
      const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
      if (match === null) throw new Error(`not a Prometheus line: ${line}`)
      const [, name = '', labels = '', value = ''] = match
      this.series.push({ name, labels: parseLabels(labels), value: value === '+Inf' ? Infinity : Number(value) })
    }
  }

  /** The sum of the series of this name that carry these labels; an unknown name is an error, not a zero. */
  value(name: string, labels: Record<string, string> = {}): number {
    const named = this.series.filter((one) => one.name === name)
    if (named.length === 0) throw new Error(`no metric ${name}; there are: ${this.names().join(', ')}`)
    return named
      .filter((one) => Object.entries(labels).every(([label, value]) => one.labels[label] === value))
      .reduce((sum, one) => sum + one.value, 0)
  }

  /** The values that a label has in the series of this name. */
  labels(name: string, label: string): string[] {
    const values = this.series.filter((one) => one.name === name).map((one) => one.labels[label] ?? '')
    return [...new Set(values)]
  }

  names(): string[] {
    return [...new Set(this.series.map((one) => one.name))]
  }
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const [, name = '', value = ''] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
  }
  return labels
}
