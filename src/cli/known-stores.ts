// The identities of the stores that this data folder has been used with: an engine that comes back without its accounts, or with
// those of others, is not taken for a new store.
//
//     stores.json  {"version":1,"stores":[{"store":"redis://127.0.0.1:6379","name":"parley","epoch":"…"}]}

import * as v from "valibot";
import type { DataFolder } from "../files/data-folder.ts";
import { FileError } from "../files/file-error.ts";
import { LockedFile } from "../files/locked-file.ts";

const File = v.object({
  version: v.literal(1),
  stores: v.array(v.object({ store: v.string(), name: v.string(), epoch: v.string() })),
});
type Known = v.InferOutput<typeof File>["stores"];

/** A store by its URL and its name. */
export interface StoreKey {
  store: string;
  name: string;
}

export class KnownStores {
  readonly #folder: DataFolder;

  constructor(folder: DataFolder) {
    this.#folder = folder;
  }

  get path(): string {
    return this.#folder.stores;
  }

  /** The identity of a store; undefined for a new one, and without a data folder. @throws {FileError}. */
  find(key: StoreKey): string | undefined {
    if (!this.#folder.exists) return undefined;
    return this.#find(this.#parse(new LockedFile(this.path).read().text), key);
  }

  /** Keeps the identity of a new store, where there is a data folder. @throws {FileError}. */
  async add(key: StoreKey, epoch: string): Promise<void> {
    if (!this.#folder.exists) return;
    await new LockedFile(this.path).update(({ text }) => {
      const stores = this.#parse(text);
      // Another process may know another identity: the next start says so.
      if (this.#find(stores, key) !== undefined) return null;
      return `${JSON.stringify({ version: 1, stores: [...stores, { ...key, epoch }] }, null, 2)}\n`;
    });
  }

  #find(stores: Known, { store, name }: StoreKey): string | undefined {
    return stores.find((known) => known.store === store && known.name === name)?.epoch;
  }

  #parse(text: string | null): Known {
    if (text === null) return [];
    const file = v.safeParse(v.pipe(v.string(), v.parseJson(), File), text);
    if (file.success) return file.output.stores;
    throw new FileError("corrupt", `${this.path} is damaged`, {
      hint: "repair it by hand; if you remove it, every store counts as new",
    });
  }
}
