// Authenticates clients: a credential → a candidate → an identity, or a LoginError. It uses no socket and no frame.
//
//     by…        checks the credential, and finds its user               writes nothing
//     (the caller finds a place for that user)
//     complete   records the login, in one change of the store           the login is valid from now on
//
// A failed login changes nothing. So the client's signal ends each wait, for a hash and for the store's lock, with its reason. The
// change of `complete` is decided under that lock: see Store.change. If the abort comes first, nothing is changed; if the change
// comes first, the login succeeds although it is late.

import type { Cancellation } from "../base/abort.ts";
import { sourceOf } from "../base/address.ts";
import type { Binding } from "../base/bindings.ts";
import { HOST_TOUCH_MS, MAX_USERS, MIN_PASSWORD_LENGTH, TOKEN_TOUCH_MS } from "../base/limits.ts";
import {
  AccountError,
  addHost,
  addUser,
  credentialStamp,
  expectRoom,
  isAlive,
  keepHosts,
  keepTokens,
  touchHost,
  touchToken,
  touchUser,
  replaceHash,
} from "./accounts.ts";
import { DummyHashes } from "./dummy-hash.ts";
import { emptyDocument, type Document, type User } from "./document.ts";
import {
  disabled,
  LoginError,
  refusal,
  type AuthMode,
  type Candidate,
  type Identity,
  type LoginClient,
} from "./identity.ts";
import { newToken, putToken, withToken } from "./issued-token.ts";
import { LoginChanges } from "./login-changes.ts";
import { displayName, NAME_RULE, normalizeName } from "./username.ts";
import { KnownSources } from "./known-sources.ts";
import { userFlaw } from "./flaws.ts";
import { HashQueueError, passwordFlaw, type HashRequest, type PasswordHasher } from "./password.ts";
import type { Store } from "./store.ts";
import { isCrowded } from "./token-pruner.ts";
import { boundLabel, TOKEN_LABEL, verifyProof } from "./token.ts";

export interface AuthenticatorOptions {
  mode: AuthMode;
  /** True when clients may create accounts. */
  register?: boolean;
  /** The number of users up to which clients may create accounts. */
  maxUsers?: number;
  minPassword?: number;
  /** Required unless the mode is `none`. */
  store?: Store;
  hasher: PasswordHasher;
  /** Called when a login succeeded, but a part of its record could not be written. */
  warn(error: unknown): void;
}

export class Authenticator {
  readonly mode: AuthMode;
  readonly #options: AuthenticatorOptions;
  readonly #knownSources: KnownSources;
  readonly #dummyHashes: DummyHashes;
  readonly #changes: LoginChanges;

  constructor(options: AuthenticatorOptions) {
    this.mode = options.mode;
    this.#options = options;
    this.#dummyHashes = new DummyHashes(options.hasher.cost, () => this.#store.dummyKey);
    this.#changes = new LoginChanges(options);
    const { hosts, tokens } = options.store?.document ?? emptyDocument();
    const addresses = this.mode === "ip" ? [...hosts.keys()] : [...tokens.values()].map(({ peer }) => peer);
    this.#knownSources = new KnownSources(
      addresses.flatMap((address) => (address === undefined ? [] : sourceOf(address))),
    );
  }

  /** The methods that a client at `address` may log in with, the preferred one first, and the name of a known address. */
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

  /** True for an address with an earlier login, and no wrong password since. */
  isKnownSource(address: string): boolean {
    return this.#knownSources.has(sourceOf(address));
  }

  none(): Candidate {
    this.#expect("none");
    const identity = { user: null, method: "none", known: false };
    return { identity, complete: () => Promise.resolve(identity) };
  }

  /** Logs in a client at a known address. */
  async byAddress(client: LoginClient): Promise<Candidate> {
    this.#expect("ip");
    await this.#changes.fresh(client.attempt);
    const { address } = client;
    const host = this.#store.document.hosts.get(address);
    if (host === undefined) throw unknownAddress();
    const identity = { user: host.name, method: "ip", known: true, lastLogin: host.last, address };
    return this.#candidate(client, identity, async () => {
      if (isDue(host.last, HOST_TOUCH_MS)) {
        await this.#changes.attempt((draft) => touchHost(draft, address, new Date()), client.attempt.signal);
      }
      // Read again, since an operator may have changed the name or removed the address meanwhile.
      const now = this.#store.document.hosts.get(address);
      if (now === undefined) throw unknownAddress();
      return { ...identity, user: now.name };
    });
  }

  /** Logs in a client at an unknown address, which chooses its name. */
  async byName(client: LoginClient, given: string): Promise<Candidate> {
    this.#expect("ip");
    const { address } = client;
    const name = displayName(given);
    if (name === undefined) throw refusal("bad_name", `invalid name: ${NAME_RULE}`);
    const identity = { user: name, method: "name", known: false, address };
    return this.#candidate(client, identity, async () => {
      await this.#changes.register(
        address,
        (draft, inUse) => addHost(draft, address, name, new Date(), () => inUse()?.addresses),
        client.attempt.signal,
      );
      return identity;
    });
  }

  async byPassword(client: LoginClient, given: string, password: string): Promise<Candidate> {
    this.#expect("password");
    const { hasher } = this.#options;
    const name = normalizeName(given);
    const request = this.#hashRequest(client, name);
    for (;;) {
      const user = await this.#find(name, client.attempt);
      // For known users, too: it takes time.
      const dummyCost = this.#dummyHashes.costFor(name ?? given, this.#store.document);
      const matches = await hashing(hasher.verify(password, user?.password, request, dummyCost));
      // While it was hashed the user may have been given another password, or have been disabled or removed.
      const current = await this.#find(name, client.attempt);
      if (current !== undefined && current.password !== user?.password) continue;
      if (!matches) this.#knownSources.remove(request.source);
      if (name === undefined || current === undefined || !matches) {
        throw wrongPassword(name, current);
      }
      if (current.disabled !== null) throw disabled(name, current.disabled.reason);
      if (hasher.isOutdated(current.password)) {
        void this.#rehash(name, current.password, password, request.source);
      }
      const stamp = credentialStamp(current);
      const identity = { user: name, method: "password", known: true, lastLogin: current.last_login, stamp };
      return this.#candidate(client, identity, (wantsToken) =>
        wantsToken ? this.#issueToken(client, identity) : this.#touchUser(identity),
      );
    }
  }

  /** The user of that name in the current store. */
  async #find(name: string | undefined, attempt: Cancellation): Promise<User | undefined> {
    await this.#changes.fresh(attempt);
    return name === undefined ? undefined : this.#store.document.users.get(name);
  }

  /** Creates an account for a client. */
  async byRegistration(client: LoginClient, given: string, password: string): Promise<Candidate> {
    this.#expect("password");
    const { hasher, register, maxUsers = MAX_USERS, minPassword = MIN_PASSWORD_LENGTH } = this.#options;
    if (register !== true) throw refusal("not_allowed", "this server does not accept registrations");
    const name = normalizeName(given);
    if (name === undefined) throw refusal("bad_name", `invalid name: ${NAME_RULE}`);
    const flaw = passwordFlaw(password, name, minPassword);
    if (flaw !== undefined) throw refusal("bad_password", flaw);
    if ((await this.#find(name, client.attempt)) !== undefined)
      throw refusal("name_taken", "this name is taken"); // costs no hash
    // These cost no hash either.
    this.#changes.expectRegistration(client.address);
    this.#changes.expect((document) => expectRoom(document, maxUsers));
    const hash = await hashing(hasher.hash(password, this.#hashRequest(client, name)));
    const identity = { user: name, method: "register", known: false };
    return this.#candidate(client, identity, async (wantsToken) => {
      const issued = wantsToken ? newToken(name, client) : undefined;
      const now = new Date();
      const create = (draft: Document) => {
        expectRoom(draft, maxUsers);
        const stamp = credentialStamp(addUser(draft, name, hash, now));
        if (issued === undefined) touchUser(draft, name, stamp, now);
        else putToken(draft, issued, stamp);
        return stamp;
      };
      const stamp = await this.#changes.register(client.address, create, client.attempt.signal);
      const created = { ...identity, stamp };
      return issued === undefined ? created : withToken(created, issued, this.#store.document);
    });
  }

  /** Logs in a client that proves its session token. */
  async byToken(
    client: LoginClient,
    id: string,
    proof: Uint8Array,
    nonce: Uint8Array,
    binding: Binding,
  ): Promise<Candidate> {
    this.#expect("password");
    await this.#changes.fresh(client.attempt); // a token that was revoked a moment ago is refused
    const { users, tokens } = this.#store.document;
    const token = tokens.get(id);
    const key = token === undefined ? new Uint8Array(32) : Buffer.from(token.key, "base64");
    const label = boundLabel(TOKEN_LABEL, binding.name);
    const proven = verifyProof(key, proof, label, nonce, binding.value);
    const user = token === undefined ? undefined : users.get(token.user);
    // A token that was issued over TLS is not accepted in plain text, where others could see it.
    const isExposed = token?.via === "tls" && !client.encrypted;
    if (!proven || token === undefined || user === undefined || isExposed || !isAlive(token, Date.now())) {
      throw tokenRefused();
    }
    if (user.disabled !== null) throw disabled(token.user, user.disabled.reason);
    const identity = {
      user: token.user,
      method: "token",
      known: true,
      lastLogin: user.last_login,
      stamp: credentialStamp(user),
      tokenId: id,
    };
    return this.#candidate(client, identity, async () => {
      const now = new Date();
      const touch = (draft: Document) => touchToken(draft, id, now);
      if (isCrowded(this.#store.document, identity.user)) {
        // Its user has too many tokens, and this one might be removed: decided under the lock.
        if ((await this.#changes.attempt(touch, client.attempt.signal)) === false) throw tokenRefused();
      } else if (isDue(token.used, TOKEN_TOUCH_MS)) {
        void this.#changes.attempt(touch);
      }
      return identity;
    });
  }

  /** Revokes a token, which ends the sessions that began with it. */
  async logout(id: string, signal: AbortSignal): Promise<void> {
    await this.#changes.require((draft) => draft.tokens.delete(id), signal);
  }

  /**
   * Hashes a right password again at the current cost; the login does not wait for it. A hash of higher cost is replaced, too: the
   * operator wants less, and equal costs do not distinguish users.
   */
  async #rehash(name: string, outdated: string, password: string, source: string): Promise<void> {
    try {
      const remade = await this.#options.hasher.hash(password, { source });
      await this.#store.change((draft) => replaceHash(draft, name, outdated, remade));
    } catch (error) {
      // A full queue: the next login is another chance.
      if (!(error instanceof HashQueueError)) this.#options.warn(error);
    }
  }

  /**
   * Records that the tokens and known addresses of sessions are in use, if the last record is older than `olderThanMs`. So a
   * credential in constant use does not expire.
   */
  async keepInUse(identities: Iterable<Identity>, olderThanMs: number): Promise<void> {
    if (this.mode === "none") return;
    const now = new Date();
    const { tokens, hosts } = this.#store.document;
    const dueTokens = new Set<string>();
    const dueHosts = new Set<string>();
    for (const { tokenId = "", address = "" } of identities) {
      if (isDue(tokens.get(tokenId)?.used, olderThanMs)) dueTokens.add(tokenId);
      if (isDue(hosts.get(address)?.last, olderThanMs)) dueHosts.add(address);
    }
    if (dueTokens.size + dueHosts.size === 0) return;
    await this.#changes.attempt((draft) => {
      keepTokens(draft, [...dueTokens], now);
      keepHosts(draft, [...dueHosts], now);
    });
  }

  // --- completing a login ---

  #candidate(
    client: LoginClient,
    identity: Identity,
    record: (wantsToken: boolean) => Promise<Identity> | Identity,
  ): Candidate {
    return {
      identity,
      complete: async (wantsToken) => {
        client.attempt.throwIfAborted();
        const completed = await record(wantsToken);
        this.#knownSources.add(sourceOf(client.address));
        return completed;
      },
    };
  }

  /** The login does not wait for this. */
  #touchUser(identity: UserIdentity): Identity {
    const { user, stamp } = identity;
    void this.#changes.attempt((draft) => touchUser(draft, user, stamp, new Date()));
    return identity;
  }

  /** When no token can be stored, the login still succeeds: the next one needs the password again. */
  async #issueToken(client: LoginClient, identity: UserIdentity): Promise<Identity> {
    const { user, stamp } = identity;
    const issued = newToken(user, client);
    try {
      await this.#store.change((draft) => putToken(draft, issued, stamp), client.attempt.signal);
    } catch (error) {
      if (error instanceof AccountError) throw this.#changedMeanwhile(user, error);
      client.attempt.throwIfAborted();
      this.#options.warn(error);
      return identity;
    }
    return withToken(identity, issued, this.#store.document);
  }

  get #store(): Store {
    return this.#changes.store;
  }

  #expect(mode: AuthMode): void {
    if (this.mode !== mode) throw refusal("not_allowed", "this server does not accept this login method");
  }

  /** The refusal of a login whose user has changed while it was completed. */
  #changedMeanwhile(name: string, cause: AccountError): LoginError {
    const { disabled: ended } = this.#store.document.users.get(name) ?? { disabled: null };
    return ended === null ? refusal("bad_credentials", LOGIN_REFUSED, cause) : disabled(name, ended.reason);
  }

  #hashRequest(
    { address, attempt }: LoginClient,
    user: string | undefined,
  ): HashRequest & { signal: AbortSignal } {
    const source = sourceOf(address);
    return { source, user, isKnown: this.#knownSources.has(source), signal: attempt.signal };
  }
}

/** True when the use recorded at `at` is older than that. False without a record. */
function isDue(at: string | undefined, olderThanMs: number): boolean {
  return at !== undefined && Date.now() - Date.parse(at) >= olderThanMs;
}

/** An identity with an account. */
type UserIdentity = Identity & { user: string; stamp: string };

/** The result of `work`, with a full queue as a LoginError. */
async function hashing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof HashQueueError)) throw error;
    throw new LoginError("busy", error.message, {
      peerMessage: "too many logins are waiting: try again in a moment",
    });
  }
}

/** What a client gets for a wrong password and for an unknown user. */
const LOGIN_REFUSED = "wrong user name or password";

/** The error has no name of an unknown user, even for the log: a person may have typed a password in place of a name. */
function wrongPassword(name: string | undefined, user: User | undefined): LoginError {
  const isKnown = name !== undefined && user !== undefined;
  const flaw = isKnown ? userFlaw(name, user) : undefined;
  const reason = flaw?.message ?? `wrong password or user${isKnown ? ` for ${name}` : ""}`;
  const error = new LoginError("bad_credentials", reason, { peerMessage: LOGIN_REFUSED });
  error.user = isKnown ? name : undefined;
  return error;
}

function unknownAddress(): LoginError {
  return refusal("bad_name", "this address is not known: choose a name");
}

function tokenRefused(): LoginError {
  return refusal("token_refused", "this session token is no longer valid");
}
