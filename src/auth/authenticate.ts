// Who is it? A credential as presented → an identity, or a LoginError. Never sees a socket or a frame.

import { sourceOf } from "../base/address.ts";
import {
  MAX_REGISTRATIONS,
  MIN_PASSWORD_LENGTH,
  REGISTRATION_WINDOW_MS,
  TOKEN_MAX_MS,
  TOKEN_TOUCH_MS,
} from "../base/limits.ts";
import { FileError } from "../files/file-error.ts";
import {
  AccountError,
  addHost,
  addToken,
  addUser,
  credentialStamp,
  isAlive,
  keepTokens,
  touchHost,
  touchToken,
  touchUser,
  replaceHash,
} from "./accounts.ts";
import { DummyHashes } from "./dummy-hash.ts";
import { emptyDocument, type Document, type User } from "./document.ts";
import { disabled, LoginError, rateLimited, refusal, type AuthMode, type Identity } from "./identity.ts";
import { displayName, NAME_RULE, normalizeName } from "./username.ts";
import { KnownSources } from "./known-sources.ts";
import { userFlaw } from "./flaws.ts";
import { HashQueueError, passwordFlaw, type PasswordHasher } from "./password.ts";
import { SlidingWindowLimiter } from "./sliding-window-limiter.ts";
import type { Mutation, Store } from "./store.ts";
import { crowdedUsers } from "./token-pruner.ts";
import { mintServerName, mintToken, TOKEN_LABEL, tokenKey, verifyProof } from "./token.ts";

/** Who is asking. */
export interface LoginClient {
  address: string;
  /** Does what they say travel over TLS? */
  encrypted: boolean;
  /** Is somebody still waiting for the answer? */
  isConnected(this: void): boolean;
}

export interface AuthenticatorOptions {
  mode: AuthMode;
  /** May clients create accounts? */
  register?: boolean;
  minPassword?: number;
  /** Needed unless the mode is `none`. */
  store?: Store;
  hasher: PasswordHasher;
  /** Told when something worked but could not be written down. */
  warn(error: unknown): void;
}

export class Authenticator {
  readonly mode: AuthMode;
  readonly #options: AuthenticatorOptions;
  readonly #knownSources: KnownSources;
  readonly #dummyHashes: DummyHashes;
  /** Each is an entry in the user file, which nobody takes out again. */
  readonly #registrations = new SlidingWindowLimiter(MAX_REGISTRATIONS, REGISTRATION_WINDOW_MS);
  /** The users who have too many tokens, worked out once for each version of the store. */
  #crowded: { document?: Readonly<Document>; users: ReadonlySet<string> } = { users: new Set() };

  constructor(options: AuthenticatorOptions) {
    this.mode = options.mode;
    this.#options = options;
    this.#dummyHashes = new DummyHashes(options.hasher.cost);
    const { hosts, tokens } = options.store?.document ?? emptyDocument();
    const addresses = this.mode === "ip" ? [...hosts.keys()] : [...tokens.values()].map(({ peer }) => peer);
    this.#knownSources = new KnownSources(
      addresses.flatMap((address) => (address === undefined ? [] : sourceOf(address))),
    );
  }

  /** What a client at `address` may log in with, in order of preference, and its name where the address tells it. */
  offer(address: string): { auth: string[]; user?: string; server?: string } {
    if (this.mode === "none") return { auth: ["none"] };
    if (this.mode === "password") {
      const register = this.#options.register === true ? ["register"] : [];
      return { auth: ["password", "token", ...register], server: this.#store.document.server };
    }
    this.#store.reload();
    const host = this.#store.document.hosts.get(address);
    return host === undefined ? { auth: ["name"] } : { auth: ["ip"], user: host.name };
  }

  /** Has somebody logged in from there before, and given no wrong password since? */
  isKnownSource(address: string): boolean {
    return this.#knownSources.has(sourceOf(address));
  }

  none(): Identity {
    this.#expect("none");
    return { user: null, method: "none", known: false };
  }

  /** The client's address is its name. */
  async byAddress({ address }: LoginClient): Promise<Identity> {
    this.#expect("ip");
    const before = this.#store.document.hosts.get(address);
    if (before === undefined) throw unknownAddress();
    await this.#tryToChange((draft) => touchHost(draft, address, new Date()));
    // The name as it is now: an operator may have changed it, or taken the address out, meanwhile.
    const host = this.#store.document.hosts.get(address);
    if (host === undefined) throw unknownAddress();
    this.#knownSources.add(sourceOf(address));
    return { user: host.name, method: "ip", known: true, lastLogin: before.last, address };
  }

  /** An unknown address says its name, to be remembered by. */
  async byName({ address }: LoginClient, given: string): Promise<Identity> {
    this.#expect("ip");
    const name = displayName(given);
    if (name === undefined) throw refusal("bad_name", `this is no name: ${NAME_RULE}`);
    await this.#asRegistration(address, () =>
      this.#change((draft) => addHost(draft, address, name, new Date())),
    );
    this.#knownSources.add(sourceOf(address));
    return { user: name, method: "name", known: false, address };
  }

  async byPassword(who: LoginClient, given: string, password: string): Promise<Identity> {
    this.#expect("password");
    const { hasher } = this.#options;
    const name = normalizeName(given);
    const source = sourceOf(who.address);
    for (;;) {
      const user = this.#find(name);
      const decoy = this.#dummyHashes.costFor(name ?? given, this.#store.document); // for known users, too: it takes time
      const asker = { source, familiar: this.#knownSources.has(source), isThere: who.isConnected };
      const matches = await this.#hashing(() => hasher.verify(password, user?.password, asker, decoy));
      // While it was hashed the user may have been given another password, or have been disabled or removed.
      const current = this.#find(name);
      if (current !== undefined && current.password !== user?.password) continue;
      if (matches) this.#knownSources.add(source);
      else this.#knownSources.remove(source);
      if (name === undefined || current === undefined || !matches) {
        throw new LoginError("bad_credentials", whyWrong(name, current), { peerMessage: "login refused" });
      }
      assertConnected(who);
      if (current.disabled !== null) throw disabled(name, current.disabled.reason);
      if (hasher.isOutdated(current.password))
        void this.#rehash(name, current.password, password, who.address);
      const stamp = credentialStamp(current);
      return { user: name, method: "password", known: true, lastLogin: current.last_login, stamp };
    }
  }

  /** The user of that name, as the file has it now: one stat. */
  #find(name: string | undefined): User | undefined {
    this.#store.reload();
    return name === undefined ? undefined : this.#store.document.users.get(name);
  }

  /** Creates an account. */
  async register(who: LoginClient, given: string, password: string): Promise<Identity> {
    this.#expect("password");
    const { hasher, register, minPassword = MIN_PASSWORD_LENGTH } = this.#options;
    if (register !== true) throw refusal("not_allowed", "this server creates no accounts for clients");
    const name = normalizeName(given);
    if (name === undefined) throw refusal("bad_name", `this is no name: ${NAME_RULE}`);
    const flaw = passwordFlaw(password, name, minPassword);
    if (flaw !== undefined) throw refusal("bad_password", flaw);
    if (this.#find(name) !== undefined) throw refusal("name_taken", "that name is taken"); // costs no hash
    const created = await this.#asRegistration(who.address, async () => {
      const source = sourceOf(who.address);
      const hash = await this.#hashing(() => hasher.hash(password, { source, isConnected: who.isConnected }));
      assertConnected(who);
      return this.#change((draft) => addUser(draft, name, hash, new Date()));
    });
    return { user: name, method: "register", known: false, stamp: credentialStamp(created) };
  }

  /** A session token, shown by its proof. `binding` is empty on plain TCP. */
  async byToken(
    who: LoginClient,
    id: string,
    proof: Uint8Array,
    nonce: Uint8Array,
    binding: Uint8Array,
  ): Promise<Identity> {
    this.#expect("password");
    this.#store.reload(); // a token revoked a moment ago is not let in
    const { users, tokens } = this.#store.document;
    const token = tokens.get(id);
    const key = token === undefined ? new Uint8Array(32) : Buffer.from(token.key, "base64");
    const proven = verifyProof(key, proof, TOKEN_LABEL, nonce, binding);
    const user = token === undefined ? undefined : users.get(token.user);
    const now = Date.now();
    // A token that began its life encrypted is not to be lured into plain text.
    const isExposed = token?.via === "tls" && !who.encrypted;
    if (!proven || token === undefined || user === undefined || isExposed || !isAlive(token, now)) {
      throw tokenRefused();
    }
    if (user.disabled !== null) throw disabled(token.user, user.disabled.reason);
    const touch = (draft: Document) => touchToken(draft, id, new Date(now));
    if (this.#isCrowded(token.user)) {
      // Its user has too many, and it might be the one that is taken away: that is decided under the lock.
      if ((await this.#tryToChange(touch)) === false) throw tokenRefused();
    } else if (now - Date.parse(token.used) > TOKEN_TOUCH_MS) {
      void this.#tryToChange(touch);
    }
    this.#knownSources.add(sourceOf(who.address));
    return {
      user: token.user,
      method: "token",
      known: true,
      lastLogin: user.last_login,
      stamp: credentialStamp(user),
      tokenId: id,
    };
  }

  /** Ends a token, and with it its conversations. */
  async logout(id: string): Promise<void> {
    await this.#change((draft) => draft.tokens.delete(id));
  }

  /**
   * Hashes a password that was right at the cost that is asked for today; the login does not wait for it. Also where it
   * cost more: the operator has asked for less, and users who cost the same cannot be told apart.
   */
  async #rehash(name: string, outdated: string, password: string, address: string): Promise<void> {
    try {
      const remade = await this.#options.hasher.hash(password, { source: sourceOf(address) });
      await this.#store.change((draft) => replaceHash(draft, name, outdated, remade));
    } catch (error) {
      // A full queue: the next login is another chance.
      if (!(error instanceof HashQueueError)) this.#options.warn(error);
    }
  }

  /**
   * Writes down that the tokens of conversations are in use, once that was not written for `olderThanMs`: one that is in
   * use all the time does not die of idleness.
   */
  async keepTokens(ids: Iterable<string>, olderThanMs: number): Promise<void> {
    if (this.mode !== "password") return;
    const now = new Date();
    const { tokens } = this.#store.document;
    const isDue = (id: string) => now.getTime() - Date.parse(tokens.get(id)?.used ?? "") >= olderThanMs;
    const due = [...ids].filter(isDue);
    if (due.length > 0) await this.#tryToChange((draft) => keepTokens(draft, due, now));
  }

  /** A login that wants no token is written down all the same; the login does not wait for it. */
  withoutToken(identity: Identity): Identity {
    const { user, stamp, method } = identity;
    if (user !== null && stamp !== undefined && method !== "token") {
      void this.#tryToChange((draft) => touchUser(draft, user, stamp, new Date()));
    }
    return identity;
  }

  /** Issues a token to whoever has just logged in with a password; other identities are returned as they are. */
  async withToken(identity: Identity, who: LoginClient): Promise<Identity> {
    const { user, method, stamp } = identity;
    if (user === null || stamp === undefined || method === "token") return identity;
    const { id, secret, text } = mintToken();
    const created = new Date();
    const expires = new Date(created.getTime() + TOKEN_MAX_MS).toISOString();
    const token = {
      user,
      key: tokenKey(secret).toString("base64"),
      created: created.toISOString(),
      used: created.toISOString(),
      expires,
      peer: who.address,
      via: who.encrypted ? ("tls" as const) : ("plain" as const),
    };
    try {
      await this.#store.change((draft) => {
        addToken(draft, id, token, stamp);
        draft.server ??= mintServerName();
      });
    } catch (error) {
      if (error instanceof AccountError) throw this.#changedMeanwhile(user, error);
      this.#options.warn(error);
      return identity; // logged in all the same; next time with the password again
    }
    return { ...identity, tokenId: id, newToken: { text, expires, server: this.#store.document.server } };
  }

  get #store(): Store {
    const { store } = this.#options;
    if (store === undefined) throw new TypeError(`auth mode ${this.mode} needs a store`);
    return store;
  }

  #expect(mode: AuthMode): void {
    if (this.mode !== mode) throw refusal("not_allowed", `this server does not accept that way to log in`);
  }

  /** Why a login that was right does not hold any more. */
  #changedMeanwhile(name: string, cause: AccountError): LoginError {
    const { disabled: ended } = this.#store.document.users.get(name) ?? { disabled: null };
    return ended === null ? refusal("bad_credentials", "login refused", cause) : disabled(name, ended.reason);
  }

  #isCrowded(user: string): boolean {
    const { document } = this.#store;
    if (this.#crowded.document !== document) this.#crowded = { document, users: crowdedUsers(document) };
    return this.#crowded.users.has(user);
  }

  /** Makes a newcomer of a client at `address`, if it may have one more; what comes to nothing does not count. */
  async #asRegistration<T>(address: string, work: () => Promise<T>): Promise<T> {
    const source = sourceOf(address);
    const now = performance.now();
    const wait = this.#registrations.take(source, now);
    if (wait !== undefined) throw rateLimited(address, wait);
    try {
      return await work();
    } catch (error) {
      this.#registrations.giveBack(source, now);
      throw error;
    }
  }

  async #hashing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof HashQueueError) {
        throw new LoginError(error.code, error.message, {
          peerMessage: "too many logins are waiting: try again in a moment",
        });
      }
      throw error;
    }
  }

  /** A change that the login depends on. */
  async #change<T>(mutation: Mutation<T>): Promise<T> {
    try {
      return await this.#store.change(mutation);
    } catch (error) {
      if (error instanceof AccountError) {
        throw refusal(error.code === "known" ? "not_allowed" : "name_taken", error.message, error);
      }
      if (!(error instanceof FileError)) throw error;
      this.#options.warn(error);
      throw new LoginError("unavailable", error.message, {
        peerMessage: "the server cannot write its user file at the moment",
        cause: error,
      });
    }
  }

  /** A change that the login can do without; undefined when it could not be made. */
  async #tryToChange<T>(mutation: Mutation<T>): Promise<T | undefined> {
    try {
      return await this.#store.change(mutation);
    } catch (error) {
      this.#options.warn(error);
      return undefined;
    }
  }
}

/** For the operator alone. What is no user's name may be a password that was typed in its place. */
function whyWrong(name: string | undefined, user: User | undefined): string {
  if (name === undefined || user === undefined) return "wrong password or user";
  return userFlaw(name, user)?.message ?? `wrong password or user for ${name}`;
}

/** Nothing is done for a client that has left while its password was hashed. */
function assertConnected(who: LoginClient): void {
  if (!who.isConnected()) throw new LoginError("gone", "the client left while its password was checked");
}

function unknownAddress(): LoginError {
  return refusal("bad_name", "this address is not known: say a name");
}

function tokenRefused(): LoginError {
  return refusal("token_refused", "this session token is not valid any more");
}
