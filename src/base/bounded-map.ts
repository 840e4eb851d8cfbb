// A map of limited size, for facts about peers. When it is full, a new entry replaces the one that was set longest ago.

export class BoundedMap<K, V> extends Map<K, V> {
  readonly #max: number;

  /** @param max the largest number of entries. */
  constructor(max: number) {
    super();
    this.#max = max;
  }

  /** Sets an entry and makes it the newest one, also when the key exists already. */
  override set(key: K, value: V): this {
    this.delete(key);
    for (const oldest of this.keys()) {
      if (this.size < this.#max) break;
      this.delete(oldest);
    }
    return super.set(key, value);
  }
}
