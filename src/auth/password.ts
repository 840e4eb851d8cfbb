// Passwords: argon2id, behind a bounded fair queue.
//
// Through Bun.password, but for hashes of several lanes: it makes a thread of each lane, and ends the process where there
// is none left (measured). node:crypto works through them one by one.
//
// Hashes run beside the event loop but on Bun's few pool threads: unlimited, they block every file read and DNS lookup
// for seconds (measured). So few run at once, few wait, and addresses take turns: a flood of guesses from one costs
// another a moment. An unknown user is checked against a decoy, so that time tells nothing: see decoy.ts.

import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { ParleyError } from "../base/errors.ts";
import { FairQueue } from "./fair-queue.ts";
import { HASH_MEMORY_KIB, HASH_TIME, MAX_PASSWORD_BYTES } from "../base/limits.ts";
import { plural } from "../base/plural.ts";
import { readPhc, type HashCost, type PhcHash } from "./phc.ts";

/** `busy`: too many hashes wait already; nothing was checked. `gone`: whoever asked has left. */
export class HashQueueError extends ParleyError<"busy" | "gone"> {
  override name = "HashQueueError";
}

/** What a new hash is to cost; it has one lane. */
export type NewHashCost = Omit<HashCost, "lanes">;

export const DEFAULT_HASH_COST: NewHashCost = { memoryKib: HASH_MEMORY_KIB, time: HASH_TIME };

/** Whose hash it is. */
export interface HashRequest {
  /** The source that it counts for. */
  source: string;
  /** It comes before those who are not: somebody has logged in from there. */
  isKnown?: boolean;
  /** Is somebody still waiting for the answer? */
  isConnected?(this: void): boolean;
}

export class PasswordHasher {
  readonly cost: HashCost;
  /** Salt and tag of nobody: random, so that nothing matches them, at the price of real ones. */
  readonly #nobody = { salt: randomBase64(32), tag: randomBase64(32) };
  readonly #concurrency: number;
  readonly #familiar = new FairQueue();
  readonly #strangers = new FairQueue();
  #running = 0;

  constructor(cost: NewHashCost = DEFAULT_HASH_COST) {
    this.cost = { ...cost, lanes: 1 };
    // One core is left to the event loop and to files.
    this.#concurrency = Math.min(4, Math.max(1, availableParallelism() - 1));
  }

  /**
   * The PHC string to store for `password`.
   *
   * @throws {HashQueueError} `busy`, or `gone` when nobody is there any more before its turn.
   */
  hash(password: string, asker: HashRequest = { source: "local" }): Promise<string> {
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
    asker: HashRequest,
    decoy: HashCost = this.cost,
  ): Promise<boolean> {
    const read = readPhc(hash ?? "");
    const usable = typeof read !== "string";
    const normal = normalizePassword(password);
    // Bun answers an empty password at once (measured): give it something to chew.
    const possible = normal !== "" && Buffer.byteLength(normal) <= MAX_PASSWORD_BYTES;
    return this.#enqueue(asker, async () => {
      const matches = await verifyPhc(
        possible ? normal : "-",
        usable ? read : { ...this.#nobody, cost: decoy },
      );
      return matches && usable && possible;
    });
  }

  /** Was `hash` made with another cost than is asked for now, less or more? */
  isOutdated(hash: string): boolean {
    const cost = hashCost(hash);
    return cost !== undefined && !Bun.deepEquals(cost, this.cost);
  }

  #enqueue<T>(
    { source, isKnown: familiar = false, isConnected: isThere = () => true }: HashRequest,
    work: () => Promise<T>,
  ): Promise<T> {
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

/** The cost of a hash, or undefined when it is none that parley would verify. */
export function hashCost(hash: string): HashCost | undefined {
  const read = readPhc(hash);
  return typeof read === "string" ? undefined : read.cost;
}

/** Why parley would not verify a hash, as a clause about it that can be shown; undefined when it would. */
export function hashFlaw(hash: string): string | undefined {
  const read = readPhc(hash);
  return typeof read === "string" ? read : undefined;
}

async function verifyPhc(password: string, { cost, salt, tag }: PhcHash): Promise<boolean> {
  const { memoryKib: memory, time: passes, lanes: parallelism } = cost;
  if (parallelism === 1) {
    return Bun.password.verify(password, `$argon2id$v=19$m=${memory},t=${passes},p=1$${salt}$${tag}`);
  }
  const nonce = Buffer.from(salt, "base64");
  const wanted = Buffer.from(tag, "base64");
  const parameters = { message: password, nonce, parallelism, tagLength: wanted.length, memory, passes };
  return timingSafeEqual(await promisify(argon2)("argon2id", parameters), wanted);
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
