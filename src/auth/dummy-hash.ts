// What checking the password of an unknown user costs: as much as those in the user file, so that time tells nothing.
//
// Not what the server is asked for now: a hash keeps the cost that it was made with until its user logs in. While costs
// differ among users, each unknown name is given one of them, drawn in their proportions, and always the same one: a
// name that took another time at each try would be known for unknown.

import { createHmac, randomBytes } from "node:crypto";
import type { Document } from "./document.ts";
import { hashCost } from "./password.ts";
import type { HashCost } from "./phc.ts";

export class DummyHashes {
  readonly #own: HashCost;
  /** Of this process: who cannot compute what a name draws cannot see that it was drawn. */
  readonly #key = randomBytes(32);
  #hashes: object | undefined;
  /** One for each user, in order, so that a change of one moves few names to another. */
  #costs: HashCost[] = [];

  /** @param own what is paid where no user has a hash. */
  constructor(own: HashCost) {
    this.#own = own;
  }

  /** What `name`, which is not among the users, has to cost. Takes 0.02 ms; after a change of a hash, 0.3 µs a user. */
  costFor(name: string, { users, hashes }: Pick<Document, "users" | "hashes">): HashCost {
    if (this.#hashes !== hashes) {
      this.#hashes = hashes;
      this.#costs = [...users.values()]
        .flatMap(({ password }) => hashCost(password) ?? [])
        .sort((a, b) => a.memoryKib - b.memoryKib || a.time - b.time || a.lanes - b.lanes);
    }
    const draw = createHmac("sha256", this.#key).update(name).digest().readUIntBE(0, 6) / 2 ** 48;
    return this.#costs[Math.floor(draw * this.#costs.length)] ?? this.#own;
  }
}
