// The cost of verifying the password of an unknown user: that of the hashes in the user file, so that the time of an answer
// does not show which users exist.
//
// It is not the cost of new hashes: a hash keeps its cost until its user logs in. While costs differ among users, each unknown name
// gets one of them, drawn in their proportions, and always the same one: different times at each try would show that the name is
// unknown.

import { createHmac } from "node:crypto";
import { UNUSABLE, type Replica } from "./document.ts";
import type { HashCost } from "./phc.ts";

export class DummyHashes {
  readonly #own: HashCost;
  readonly #key: () => Uint8Array;

  /**
   * @param own the cost when no user has a hash.
   * @param key random, so that clients cannot compute which cost an unknown name draws. All servers of one store should have the
   *   same key: a name that costs differently at two of them is unknown.
   */
  constructor(own: HashCost, key: () => Uint8Array) {
    this.#own = own;
    this.#key = key;
  }

  /** The cost for `name`. Takes time for each cost that hashes have, not for each user. */
  costFor(name: string, { users }: Pick<Replica, "users">): HashCost {
    // Sorted, so that a change of one hash changes the draw of few names.
    const groups = [...users.groups()].filter((group) => group !== UNUSABLE).sort();
    const total = groups.reduce((sum, group) => sum + users.groupSize(group), 0);
    const draw = createHmac("sha256", this.#key()).update(name).digest().readUIntBE(0, 6) / 2 ** 48;
    let rest = Math.floor(draw * total);
    const drawn = groups.find((group) => (rest -= users.groupSize(group)) < 0);
    if (drawn === undefined) return this.#own;
    const [memoryKib = 0, time = 0, lanes = 0] = drawn.split(" ").map(Number);
    return { memoryKib, time, lanes };
  }
}
