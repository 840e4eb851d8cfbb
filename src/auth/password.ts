// Passwords: argon2id, behind a bounded fair queue.
//
// Bun.password hashes, except where a hash has several lanes: Bun 1.4.5 makes a thread of each lane, and the process ends
// where the system gives it none (password.test.ts shows it). node:crypto works through the lanes one by one.
//
// Hashes run beside the event loop, on the few threads of Bun's pool, with 64 MiB each. 32 at once held a file read up for
// 166 ms instead of 4 (measured with Bun 1.4.5 on 2 cores). So few hashes run at once, few wait, and sources take turns: a
// flood of guesses from one source delays another only a little. Sources with a successful login have a separate queue, which gets
// most of the turns and not all: otherwise a client with an account could keep all others out. An unknown user's password is
// verified against a dummy hash: see dummy-hash.ts.
//
// A hash cannot be cancelled. When its result is no longer needed, the caller gets its answer at once. The hash still counts as running
// until it ends, since it uses its thread and memory until then.

import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { ParleyError } from "../base/errors.ts";
import { onAbort } from "../base/abort.ts";
import { FairQueue, type Job } from "./fair-queue.ts";
import { HASH_MEMORY_KIB, HASH_TIME, KNOWN_HASHES_IN_A_ROW, MAX_PASSWORD_BYTES } from "../base/limits.ts";
import { plural } from "../base/plural.ts";
import { readPhc, type HashCost, type PhcHash } from "./phc.ts";

/** Too many hashes wait already; no password was checked. */
export class HashQueueError extends ParleyError<"busy"> {
  override name = "HashQueueError";
}

/** The cost of a new hash; it has one lane. */
export type NewHashCost = Omit<HashCost, "lanes">;

export const DEFAULT_HASH_COST: NewHashCost = { memoryKib: HASH_MEMORY_KIB, time: HASH_TIME };

/** The client for which a hash is computed. */
export interface HashRequest {
  /** The source, since sources take turns. */
  source: string;
  /** The user, since the users of a source take turns. */
  user?: string;
  /** True for a source with a successful login. While hashes of known sources wait, they get two of three turns. */
  isKnown?: boolean;
  /** Aborted when the result is no longer needed; then its reason is thrown. */
  signal?: AbortSignal;
}

export class PasswordHasher {
  readonly cost: HashCost;
  /** Salt and tag of the dummy hash: random, so that no password matches them. */
  readonly #dummy = { salt: randomBase64(32), tag: randomBase64(32) };
  readonly #concurrency: number;
  readonly #known = new FairQueue();
  readonly #others = new FairQueue();
  /** Hashes for known sources since the last one for another source. */
  #knownInARow = 0;
  #running = 0;

  constructor(cost: NewHashCost = DEFAULT_HASH_COST) {
    this.cost = { ...cost, lanes: 1 };
    // One core is left to the event loop and to files.
    this.#concurrency = Math.min(4, Math.max(1, availableParallelism() - 1));
  }

  /**
   * The PHC string to store for `password`.
   *
   * @throws {HashQueueError} `busy`; and the reason of the request's signal.
   */
  hash(password: string, request: HashRequest = { source: "local" }): Promise<string> {
    const { memoryKib: memoryCost, time: timeCost } = this.cost;
    return this.#enqueue(request, async () =>
      Bun.password.hash(normalizePassword(password), { algorithm: "argon2id", memoryCost, timeCost }),
    );
  }

  /**
   * True when `password` matches `hash`. An undefined or unusable hash matches no password, and takes as long as a hash of
   * `dummyCost`.
   *
   * @throws {HashQueueError} as {@link hash}.
   */
  verify(
    password: string,
    hash: string | undefined,
    request: HashRequest,
    dummyCost: HashCost = this.cost,
  ): Promise<boolean> {
    const read = readPhc(hash ?? "");
    const usable = typeof read !== "string";
    const normal = normalizePassword(password);
    // Bun answers for an empty password at once, in 0.02 ms (measured with Bun 1.4.5), so another password is hashed in its place.
    const possible = normal !== "" && Buffer.byteLength(normal) <= MAX_PASSWORD_BYTES;
    return this.#enqueue(request, async () => {
      const matches = await verifyPhc(
        possible ? normal : "-",
        usable ? read : { ...this.#dummy, cost: dummyCost },
      );
      return matches && usable && possible;
    });
  }

  /** True when the cost of `hash` differs from the current one. */
  isOutdated(hash: string): boolean {
    const cost = hashCost(hash);
    return cost !== undefined && !Bun.deepEquals(cost, this.cost);
  }

  async #enqueue<T>({ source, user = "", isKnown, signal }: HashRequest, work: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const job: Job = {
      source,
      user,
      run: () => work().then(resolve, reject),
      drop: (message) => reject(new HashQueueError("busy", message)),
    };
    const queue = isKnown === true ? this.#known : this.#others;
    using _ = onAbort(signal, (reason) => {
      queue.remove(job);
      reject(reason);
    });
    queue.push(job);
    this.#next();
    return await promise;
  }

  #take(): Job | undefined {
    const isOthersTurn = this.#knownInARow >= KNOWN_HASHES_IN_A_ROW;
    const known = isOthersTurn && this.#others.size > 0 ? undefined : this.#known.take();
    this.#knownInARow = known === undefined ? 0 : this.#knownInARow + 1;
    return known ?? this.#others.take();
  }

  #next(): void {
    while (this.#running < this.#concurrency) {
      const job = this.#take();
      if (job === undefined) return;
      this.#running++;
      void job.run().finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }
}

/** The cost of a hash; undefined when parley does not verify it. */
export function hashCost(hash: string): HashCost | undefined {
  const read = readPhc(hash);
  return typeof read === "string" ? undefined : read.cost;
}

/** The reason why parley does not verify a hash, as a clause that may be shown; undefined when it does. */
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

/** The reason why a new password is refused, as a sentence; undefined when it is accepted. `minLength` in characters. */
export function passwordFlaw(password: string, name: string, minLength: number): string | undefined {
  const normal = normalizePassword(password);
  const length = Array.from(normal).length;
  if (length < minLength)
    return `the password has ${plural(length, "character")} and needs at least ${minLength}`;
  if (Buffer.byteLength(normal) > MAX_PASSWORD_BYTES)
    return `the password is longer than ${MAX_PASSWORD_BYTES} bytes`;
  if (!normal.isWellFormed()) return "the password is not valid Unicode text";
  if (normal.toLowerCase() === name.toLowerCase()) return "the password is the same as the user name";
  if (new Set(normal).size < 3) return "the password repeats one or two characters";
  return undefined;
}

/** The normal form of a password: keyboards differ in the bytes of an accented letter, composed or decomposed. */
function normalizePassword(password: string): string {
  return password.normalize("NFC");
}
