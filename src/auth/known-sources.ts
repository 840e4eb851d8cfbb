// Sources with a successful login. When many other sources guess passwords at once, logins of known sources get most of the
// hashes, so that the flood hardly delays users. After one wrong password a source is forgotten.

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

  /** Adds `source`. When there are too many, removes the one that was added longest ago. */
  add(source: string): void {
    this.#sources.set(source, true);
  }

  remove(source: string): void {
    this.#sources.delete(source);
  }
}
