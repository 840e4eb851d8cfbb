// A map of limited size, for what is remembered of peers: in a full one the entry that was set longest ago makes room.

export class BoundedMap<K, V> extends Map<K, V> {
  readonly #max: number;

  /** @param max how many entries it holds at most. */
  constructor(max: number) {
    super();
    this.#max = max;
  }

  /** Sets an entry and makes it the newest one, also where there was one with that key. */
  override set(key: K, value: V): this {
    this.delete(key);
    for (const oldest of this.keys()) {
      if (this.size < this.#max) break;
      this.delete(oldest);
    }
    return super.set(key, value);
  }
}
