// Sources from which somebody has logged in before. When very many others guess at once, their logins come first, so that
// a flood from everywhere costs strangers and not those who belong. One wrong password, and a source is a stranger again.

const MAX_SOURCES = 4096;

export class KnownSources {
  readonly #sources = new Set<string>();

  constructor(sources: Iterable<string>) {
    for (const source of sources) this.add(source);
  }

  has(source: string): boolean {
    return this.#sources.has(source);
  }

  add(source: string): void {
    // To the end: the first one is the one that was seen longest ago.
    this.#sources.delete(source);
    this.#sources.add(source);
    const [oldest] = this.#sources;
    if (this.#sources.size > MAX_SOURCES && oldest !== undefined) this.#sources.delete(oldest);
  }

  remove(source: string): void {
    this.#sources.delete(source);
  }
}
