// The changes of the store by logins, and the limit of new users from one source.

import type { Cancellation } from "../base/abort.ts";
import { sourceOf } from "../base/address.ts";
import { MAX_REGISTRATIONS, REGISTRATION_WINDOW_MS, STORE_RETRY_SECONDS } from "../base/limits.ts";
import { EngineError } from "../engine/engine-error.ts";
import { AccountError } from "./accounts.ts";
import type { Document } from "./document.ts";
import { LoginError, rateLimited, refusal } from "./identity.ts";
import { SlidingWindowLimiter } from "./sliding-window-limiter.ts";
import { isStoreError, type Mutation, type Store } from "./store.ts";

export interface LoginChangesOptions {
  /** Required on a server with logins. */
  store?: Store;
  /** Called when a change could not be written to the user file. */
  warn(error: unknown): void;
}

export class LoginChanges {
  readonly #options: LoginChangesOptions;
  /** Counts new users for each source, since their entries stay in the user file until an operator removes them. */
  readonly #registrations = new SlidingWindowLimiter(MAX_REGISTRATIONS, REGISTRATION_WINDOW_MS);

  constructor(options: LoginChangesOptions) {
    this.#options = options;
  }

  /** @throws {TypeError} without a store. */
  get store(): Store {
    const { store } = this.#options;
    if (store === undefined) throw new TypeError("this way to log in needs a store");
    return store;
  }

  /**
   * Makes a change that the login depends on.
   *
   * @throws {LoginError} when it cannot be made; and the reason of `signal`, as `Store.change`.
   */
  async require<T>(mutation: Mutation<T>, signal: AbortSignal): Promise<T> {
    try {
      return await this.store.change(mutation, signal);
    } catch (error) {
      throw error instanceof AccountError ? refused(error) : this.#refusalFor(error);
    }
  }

  /**
   * Waits until the store in memory has every change that was reported before this call.
   *
   * @throws {LoginError} when that cannot be found out; and the reason of `attempt`.
   */
  async fresh(attempt: Cancellation): Promise<void> {
    try {
      await this.store.fresh();
    } catch (error) {
      attempt.throwIfAborted();
      throw this.#refusalFor(error);
    }
    attempt.throwIfAborted();
  }

  /** The refusal of a login for a failure of the store; any other error as it is. */
  #refusalFor(error: unknown): unknown {
    if (error instanceof EngineError && error.code === "unreachable") return storeLost(error);
    if (!isStoreError(error)) return error;
    this.#options.warn(error);
    return new LoginError("unavailable", error.message, {
      peerMessage: "the server cannot change its accounts at the moment",
      cause: error,
    });
  }

  /** Checks whether a change could be made now. @throws {LoginError} as {@link require}. */
  expect(check: (document: Readonly<Document>) => void): void {
    try {
      check(this.store.document);
    } catch (error) {
      throw error instanceof AccountError ? refused(error) : error;
    }
  }

  /** Makes a change that the login does not depend on; undefined when it cannot be made. @throws the reason of `signal`. */
  async attempt<T>(mutation: Mutation<T>, signal?: AbortSignal): Promise<T | undefined> {
    try {
      return await this.store.change(mutation, signal);
    } catch (error) {
      signal?.throwIfAborted();
      this.#options.warn(error);
      return undefined;
    }
  }

  /** Makes a change that adds a new user at `address`, as {@link require}. A failed change does not count. */
  async register<T>(address: string, mutation: Mutation<T>, signal: AbortSignal): Promise<T> {
    this.expectRegistration(address);
    const source = sourceOf(address);
    const now = performance.now();
    this.#registrations.record(source, now);
    try {
      return await this.require(mutation, signal);
    } catch (error) {
      this.#registrations.giveBack(source, now);
      throw error;
    }
  }

  /** @throws {LoginError} `rate_limited` when too many new users came from `address`. */
  expectRegistration(address: string): void {
    const wait = this.#registrations.retryAfter(sourceOf(address), performance.now());
    if (wait !== undefined) throw rateLimited(address, wait);
  }
}

/** A client that tries again in a moment may find the store there. */
function storeLost(cause: EngineError): LoginError {
  const message = "the server cannot reach its accounts at the moment";
  const error = new LoginError("unavailable", cause.message, { peerMessage: message, cause });
  error.retryAfter = STORE_RETRY_SECONDS;
  return error;
}

const CODES = { full: "full", known: "not_allowed", exists: "name_taken", unknown: "name_taken" } as const;

function refused(error: AccountError): LoginError {
  return refusal(CODES[error.code], error.message, error);
}
