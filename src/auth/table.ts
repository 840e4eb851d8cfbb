// The records of one kind, by key, with an index of groups: the tokens of a user, the users whose hashes cost the same. A draft
// holds what a change has written, over a table that it reads and leaves as it is: a change costs its own records, not the table.

/** What a table and a draft of it have in common. */
export interface Records<V> extends Iterable<[string, V]> {
  readonly size: number;
  get(key: string): V | undefined;
  has(key: string): boolean;
  set(key: string, value: V): unknown;
  delete(key: string): boolean;
  keys(): Iterable<string>;
  values(): Iterable<V>;
  /** The keys of the records in a group, as they are now. */
  inGroup(group: string): string[];
  groupSize(group: string): number;
}

/** The group of a record; undefined for none. */
export type GroupOf<V> = (value: V) => string | undefined;

export class Table<V> extends Map<string, V> implements Records<V> {
  readonly groupOf: GroupOf<V>;
  /** The keys of each group: most groups have one. */
  readonly #groups = new Map<string, string | Set<string>>();

  constructor(groupOf: GroupOf<V>) {
    super();
    this.groupOf = groupOf;
  }

  override set(key: string, value: V): this {
    const old = this.get(key);
    const group = this.groupOf(value);
    const before = old === undefined ? undefined : this.groupOf(old);
    if (before !== group) {
      if (before !== undefined) this.#leave(before, key);
      if (group !== undefined) this.#join(group, key);
    }
    return super.set(key, value);
  }

  override delete(key: string): boolean {
    const old = this.get(key);
    if (old === undefined) return false;
    const group = this.groupOf(old);
    if (group !== undefined) this.#leave(group, key);
    return super.delete(key);
  }

  override clear(): void {
    this.#groups.clear();
    super.clear();
  }

  inGroup(group: string): string[] {
    const keys = this.#groups.get(group) ?? [];
    return typeof keys === "string" ? [keys] : [...keys];
  }

  groupSize(group: string): number {
    const keys = this.#groups.get(group);
    if (keys === undefined) return 0;
    return typeof keys === "string" ? 1 : keys.size;
  }

  groups(): Iterable<string> {
    return this.#groups.keys();
  }

  #join(group: string, key: string): void {
    const keys = this.#groups.get(group);
    if (keys === undefined) this.#groups.set(group, key);
    else if (typeof keys === "string") this.#groups.set(group, new Set([keys, key]));
    else keys.add(key);
  }

  #leave(group: string, key: string): void {
    const keys = this.#groups.get(group);
    if (typeof keys === "object" && keys.size > 1) keys.delete(key);
    else this.#groups.delete(group);
  }
}

/** What a change has read of a table: it holds only while that is as it was. */
interface Reads {
  /** Records, or their absence. */
  keys: Set<string>;
  groups: Set<string>;
  /** The number of all records. */
  size: boolean;
  /** All records. */
  all: boolean;
}

export class TableDraft<V> implements Records<V> {
  readonly reads: Reads = { keys: new Set(), groups: new Set(), size: false, all: false };
  readonly #base: Table<V>;
  readonly #written: Table<V>;
  /** Keys of the base that are deleted. */
  readonly #deleted = new Set<string>();
  /** How many written records are not in the base. */
  #added = 0;

  constructor(base: Table<V>) {
    this.#base = base;
    this.#written = new Table(base.groupOf);
  }

  get size(): number {
    this.reads.size = true;
    return this.#base.size - this.#deleted.size + this.#added;
  }

  get(key: string): V | undefined {
    this.reads.keys.add(key);
    return this.#find(key);
  }

  #find(key: string): V | undefined {
    return this.#written.get(key) ?? (this.#deleted.has(key) ? undefined : this.#base.get(key));
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  set(key: string, value: V): void {
    if (!this.#base.has(key) && !this.#written.has(key)) this.#added++;
    this.#deleted.delete(key);
    this.#written.set(key, value);
  }

  delete(key: string): boolean {
    if (this.#find(key) === undefined) {
      this.reads.keys.add(key);
      return false;
    }
    this.#written.delete(key);
    if (this.#base.has(key)) this.#deleted.add(key);
    else this.#added--;
    return true;
  }

  *[Symbol.iterator](): Iterator<[string, V]> {
    this.reads.all = true;
    for (const [key, value] of this.#base) {
      if (!this.#deleted.has(key)) yield [key, this.#written.get(key) ?? value];
    }
    for (const entry of this.#written) {
      if (!this.#base.has(entry[0])) yield entry;
    }
  }

  *keys(): Iterable<string> {
    for (const [key] of this) yield key;
  }

  *values(): Iterable<V> {
    for (const [, value] of this) yield value;
  }

  inGroup(group: string): string[] {
    this.reads.groups.add(group);
    const kept = this.#base
      .inGroup(group)
      .filter((key) => !this.#deleted.has(key) && !this.#written.has(key));
    return [...kept, ...this.#written.inGroup(group)];
  }

  groupSize(group: string): number {
    return this.inGroup(group).length;
  }

  /** The keys of the records that were written. */
  writtenKeys(): Iterable<string> {
    return this.#written.keys();
  }

  /** The number of the records that were written or deleted. */
  get changeCount(): number {
    return this.#written.size + this.#deleted.size;
  }

  written(): Iterable<[string, V]> {
    return this.#written;
  }

  /** The keys of the records that were deleted. */
  deleted(): Iterable<string> {
    return this.#deleted;
  }

  /** The records that were written, and null for those that were deleted. */
  *changes(): Iterable<[string, V | null]> {
    for (const key of this.#deleted) yield [key, null];
    yield* this.#written;
  }

  /** Changes the base as this draft says. The draft has no further use. */
  apply(): void {
    for (const key of this.#deleted) this.#base.delete(key);
    for (const [key, value] of this.#written) this.#base.set(key, value);
  }
}
