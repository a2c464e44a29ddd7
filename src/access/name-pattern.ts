/** A name, or a pattern of names in which `*` stands for any text, also none. Matching takes linear time. */

export class NamePattern {
  private readonly parts: readonly string[]

  constructor(readonly text: string) {
    this.parts = text.split('*')
  }

  /** Whether it names one name only. */
  get isExact(): boolean {
    return this.parts.length === 1
  }

  matches(name: string): boolean {
    const { parts } = this
    const first = parts[0] as string
    if (parts.length === 1) return name === first
    const last = parts[parts.length - 1] as string
    if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false
    let position = first.length
    const end = name.length - last.length
    for (let i = 1; i < parts.length - 1; i++) {
      const part = parts[i] as string
      const found = name.indexOf(part, position)
      if (found === -1 || found + part.length > end) return false
      position = found + part.length
    }
    return true
  }
}
