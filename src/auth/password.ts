// Passwords: argon2id through Bun.password, behind a bounded fair queue.
//
// Hashes run beside the event loop but on Bun's few pool threads: unlimited, they block every file read and DNS lookup
// for seconds (measured). So few run at once, few wait, and addresses take turns: a flood of guesses from one costs
// another a moment. An unknown user is checked against a decoy, so that time tells nothing: see decoy.ts.

import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { ParleyError } from "../errors.ts";
import { FairQueue } from "./fair-queue.ts";
import {
  HASH_MEMORY_KIB,
  HASH_TIME,
  MAX_HASH_MEMORY_KIB,
  MAX_HASH_TIME,
  MAX_PASSWORD_BYTES,
} from "../limits.ts";
import { plural } from "../plural.ts";

/** `busy`: too many hashes wait already; nothing was checked. `gone`: whoever asked has left. */
export class HashQueueError extends ParleyError<"busy" | "gone"> {
  override name = "HashQueueError";
}

export interface HashCost {
  /** argon2id memory, in KiB. */
  memoryKib: number;
  /** argon2id passes. */
  time: number;
}

/** With one lane, RFC 9106 §3.1. */
const MIN_ARGON2_MEMORY_KIB = 8;

export const DEFAULT_HASH_COST: HashCost = { memoryKib: HASH_MEMORY_KIB, time: HASH_TIME };

/** Whose hash it is. */
export interface Asker {
  /** The source that it counts for. */
  source: string;
  /** It comes before those who are not: somebody has logged in from there. */
  familiar?: boolean;
  /** Is somebody still waiting for the answer? */
  isThere?(this: void): boolean;
}

export class PasswordHasher {
  readonly cost: HashCost;
  /** Salt and hash of nobody: random, so that nothing matches them, at the price of real ones. */
  readonly #nobody = `${randomBase64(32)}$${randomBase64(32)}`;
  readonly #concurrency: number;
  readonly #familiar = new FairQueue();
  readonly #strangers = new FairQueue();
  #running = 0;

  constructor(cost: HashCost = DEFAULT_HASH_COST) {
    this.cost = cost;
    // One core is left to the event loop and to files.
    this.#concurrency = Math.min(4, Math.max(1, availableParallelism() - 1));
  }

  /**
   * The PHC string to store for `password`.
   *
   * @throws {HashQueueError} `busy`, or `gone` when nobody is there any more before its turn.
   */
  hash(password: string, asker: Asker = { source: "local" }): Promise<string> {
    const { memoryKib: memoryCost, time: timeCost } = this.cost;
    return this.#enqueue(asker, async () =>
      Bun.password.hash(normalizePassword(password), { algorithm: "argon2id", memoryCost, timeCost }),
    );
  }

  /**
   * Is `password` the one that `hash` was made of? An undefined or unacceptable hash matches nothing, and takes as long
   * as one of the cost `decoy`.
   *
   * @throws {HashQueueError} as {@link hash}.
   */
  verify(
    password: string,
    hash: string | undefined,
    asker: Asker,
    decoy: HashCost = this.cost,
  ): Promise<boolean> {
    const { memoryKib, time } = decoy;
    const nobodys = `$argon2id$v=19$m=${memoryKib},t=${time},p=1$${this.#nobody}`;
    const usable = hash !== undefined && hashCost(hash) !== undefined;
    const normal = normalizePassword(password);
    // Bun answers an empty password at once (measured): give it something to chew.
    const possible = normal !== "" && Buffer.byteLength(normal) <= MAX_PASSWORD_BYTES;
    return this.#enqueue(asker, async () => {
      const attempt = possible ? normal : "-";
      try {
        const matches = await Bun.password.verify(attempt, usable ? hash : nobodys);
        return matches && usable && possible;
      } catch {
        // A hash in the file that only looks like one: it matches nothing, and that takes as long as ever.
        await Bun.password.verify(attempt, nobodys);
        return false;
      }
    });
  }

  /** Was `hash` made with another cost than is asked for now, less or more? */
  isOutdated(hash: string): boolean {
    const cost = hashCost(hash);
    return cost !== undefined && (cost.memoryKib !== this.cost.memoryKib || cost.time !== this.cost.time);
  }

  #enqueue<T>({ source, familiar = false, isThere = () => true }: Asker, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const queue = familiar ? this.#familiar : this.#strangers;
      queue.push(source, {
        run: () => work().then(resolve, reject),
        drop: (code, message) => reject(new HashQueueError(code, message)),
        isWanted: isThere,
      });
      this.#next();
    });
  }

  #next(): void {
    while (this.#running < this.#concurrency) {
      const job = this.#familiar.take() ?? this.#strangers.take();
      if (job === undefined) return;
      this.#running++;
      void job.run().finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }
}

/**
 * The cost in an argon2id PHC string, or undefined when it is none that parley would verify: another algorithm, a cost
 * that no argon2id has, or one that would stall the server.
 */
export function hashCost(hash: string): HashCost | undefined {
  const match =
    /^\$argon2id\$v=19\$m=(\d{1,9}),t=(\d{1,3}),p=1\$[A-Za-z0-9+/]{22,}\$[A-Za-z0-9+/]{22,}$/.exec(hash);
  if (match === null) return undefined;
  const cost = { memoryKib: Number(match[1]), time: Number(match[2]) };
  if (cost.memoryKib < MIN_ARGON2_MEMORY_KIB || cost.time < 1) return undefined;
  return cost.memoryKib <= MAX_HASH_MEMORY_KIB && cost.time <= MAX_HASH_TIME ? cost : undefined;
}

function randomBase64(bytes: number): string {
  return randomBytes(bytes).toString("base64").replaceAll("=", "");
}

/** What is wrong with a new password, as a sentence, or undefined when it will do. `minLength` in characters. */
export function passwordFlaw(password: string, name: string, minLength: number): string | undefined {
  const normal = normalizePassword(password);
  const length = Array.from(normal).length;
  if (length < minLength) return `the password has ${plural(length, "character")}, it needs ${minLength}`;
  if (Buffer.byteLength(normal) > MAX_PASSWORD_BYTES)
    return `the password is over ${MAX_PASSWORD_BYTES} bytes`;
  if (!normal.isWellFormed()) return "the password is not valid Unicode text";
  if (normal.toLowerCase() === name.toLowerCase()) return "the password is the user's name";
  if (new Set(normal).size < 3) return "the password repeats one or two characters";
  return undefined;
}

/** One text for what looks the same on every keyboard: composed and decomposed accents are different bytes. */
function normalizePassword(password: string): string {
  return password.normalize("NFC");
}
