// Sources with a successful login. When many others guess passwords at once, the logins of these have most turns at a hash, so
// that the flood hardly delays users. After one wrong password a source is forgotten.

import { BoundedMap } from "../base/bounded-map.ts";

const MAX_SOURCES = 4096;

export class KnownSources {
  readonly #sources = new BoundedMap<string, true>(MAX_SOURCES);

  constructor(sources: Iterable<string>) {
    for (const source of sources) this.add(source);
  }

  has(source: string): boolean {
    return this.#sources.has(source);
  }

  /** Remembers `source`; of too many, the one that was added longest ago is forgotten. */
  add(source: string): void {
    this.#sources.set(source, true);
  }

  remove(source: string): void {
    this.#sources.delete(source);
  }
}
