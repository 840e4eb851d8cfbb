// Who is it? A credential as presented → a candidate → an identity, or a LoginError. Never sees a socket or a frame.
//
//     by…        checks the credential: whose login it is                  nothing is written
//     (the caller finds a place for that user)
//     complete   writes the login down, in one change of the store         from here on the login holds
//
// A login that has failed leaves nothing behind. So the client's signal ends each wait, for a hash and for the store's lock,
// with its reason; and the change of `complete` is decided under that lock: see Store.change. Whichever comes first holds:
// the abort, and nothing is changed; or the change, and the login succeeds although it is late.

import { sourceOf } from "../base/address.ts";
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
import { crowdedUsers } from "./token-pruner.ts";
import { TOKEN_LABEL, verifyProof } from "./token.ts";

export interface AuthenticatorOptions {
  mode: AuthMode;
  /** May clients create accounts? */
  register?: boolean;
  /** Users there may be for a client to create one more. */
  maxUsers?: number;
  minPassword?: number;
  /** Needed unless the mode is `none`. */
  store?: Store;
  hasher: PasswordHasher;
  /** Called when a login succeeded and something about it could not be written. */
  warn(error: unknown): void;
}

export class Authenticator {
  readonly mode: AuthMode;
  readonly #options: AuthenticatorOptions;
  readonly #knownSources: KnownSources;
  readonly #dummyHashes: DummyHashes;
  readonly #changes: LoginChanges;
  /** The users with too many tokens, computed once for each version of the store. */
  #crowded: { document?: Readonly<Document>; users: ReadonlySet<string> } = { users: new Set() };

  constructor(options: AuthenticatorOptions) {
    this.mode = options.mode;
    this.#options = options;
    this.#dummyHashes = new DummyHashes(options.hasher.cost);
    this.#changes = new LoginChanges(options);
    const { hosts, tokens } = options.store?.document ?? emptyDocument();
    const addresses = this.mode === "ip" ? [...hosts.keys()] : [...tokens.values()].map(({ peer }) => peer);
    this.#knownSources = new KnownSources(
      addresses.flatMap((address) => (address === undefined ? [] : sourceOf(address))),
    );
  }

  /** The methods that a client at `address` may log in with, the preferred one first, and its name where it is known by that. */
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

  /** Was there a login from that address before, and no wrong password since? */
  isKnownSource(address: string): boolean {
    return this.#knownSources.has(sourceOf(address));
  }

  none(): Candidate {
    this.#expect("none");
    const identity = { user: null, method: "none", known: false };
    return { identity, complete: () => Promise.resolve(identity) };
  }

  /** A client that is known by its address. */
  async byAddress(client: LoginClient): Promise<Candidate> {
    this.#expect("ip");
    const { address } = client;
    const host = this.#store.document.hosts.get(address);
    if (host === undefined) throw unknownAddress();
    const identity = { user: host.name, method: "ip", known: true, lastLogin: host.last, address };
    return this.#candidate(client, identity, async () => {
      if (isDue(host.last, HOST_TOUCH_MS)) {
        await this.#changes.attempt((draft) => touchHost(draft, address, new Date()), client.signal);
      }
      // The name as it is now: an operator may have changed it, or removed the address, meanwhile.
      const now = this.#store.document.hosts.get(address);
      if (now === undefined) throw unknownAddress();
      return { ...identity, user: now.name };
    });
  }

  /** A client at an unknown address, which says the name that it is to be known by. */
  async byName(client: LoginClient, given: string): Promise<Candidate> {
    this.#expect("ip");
    const { address, signal } = client;
    const name = displayName(given);
    if (name === undefined) throw refusal("bad_name", `invalid name: ${NAME_RULE}`);
    const identity = { user: name, method: "name", known: false, address };
    return this.#candidate(client, identity, async () => {
      await this.#changes.register(
        address,
        (draft, inUse) => addHost(draft, address, name, new Date(), () => inUse()?.addresses),
        signal,
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
      const user = this.#find(name);
      // Known users, too: it takes time.
      const dummyCost = this.#dummyHashes.costFor(name ?? given, this.#store.document);
      const matches = await hashing(hasher.verify(password, user?.password, request, dummyCost));
      // While it was hashed the user may have been given another password, or have been disabled or removed.
      const current = this.#find(name);
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

  /** The user of that name, as the file has it now; costs one stat(2). */
  #find(name: string | undefined): User | undefined {
    this.#store.reload();
    return name === undefined ? undefined : this.#store.document.users.get(name);
  }

  /** A client that makes an account for itself. */
  async byRegistration(client: LoginClient, given: string, password: string): Promise<Candidate> {
    this.#expect("password");
    const { hasher, register, maxUsers = MAX_USERS, minPassword = MIN_PASSWORD_LENGTH } = this.#options;
    if (register !== true) throw refusal("not_allowed", "this server does not accept registrations");
    const name = normalizeName(given);
    if (name === undefined) throw refusal("bad_name", `invalid name: ${NAME_RULE}`);
    const flaw = passwordFlaw(password, name, minPassword);
    if (flaw !== undefined) throw refusal("bad_password", flaw);
    if (this.#find(name) !== undefined) throw refusal("name_taken", "this name is taken"); // costs no hash
    // Neither do these.
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
      const stamp = await this.#changes.register(client.address, create, client.signal);
      const created = { ...identity, stamp };
      return issued === undefined ? created : withToken(created, issued, this.#store.document);
    });
  }

  /** A client that has a session token, and shows that by its proof. `binding` is empty on plain TCP. */
  async byToken(
    client: LoginClient,
    id: string,
    proof: Uint8Array,
    nonce: Uint8Array,
    binding: Uint8Array,
  ): Promise<Candidate> {
    this.#expect("password");
    this.#store.reload(); // a token revoked a moment ago is not let in
    const { users, tokens } = this.#store.document;
    const token = tokens.get(id);
    const key = token === undefined ? new Uint8Array(32) : Buffer.from(token.key, "base64");
    const proven = verifyProof(key, proof, TOKEN_LABEL, nonce, binding);
    const user = token === undefined ? undefined : users.get(token.user);
    // A token that was issued over TLS is not accepted in plain text, where it could be watched.
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
      if (this.#isCrowded(identity.user)) {
        // Its user has too many, and this one might be removed: that is decided under the lock.
        if ((await this.#changes.attempt(touch, client.signal)) === false) throw tokenRefused();
      } else if (isDue(token.used, TOKEN_TOUCH_MS)) {
        void this.#changes.attempt(touch);
      }
      return identity;
    });
  }

  /** Revokes a token, and with it the conversations that began with it. */
  async logout(id: string, signal: AbortSignal): Promise<void> {
    await this.#changes.require((draft) => draft.tokens.delete(id), signal);
  }

  /**
   * Hashes a password that was right at the cost that is asked for today; the login does not wait for that. Also where it
   * cost more: the operator has asked for less, and users whose hashes cost the same cannot be told apart.
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
   * Records that the tokens and known addresses of conversations are in use, where that was not recorded for `olderThanMs`: what
   * is in use all the time does not become idle.
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
        client.signal.throwIfAborted();
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

  /** Where no token can be stored the login succeeds all the same: the next one needs the password again. */
  async #issueToken(client: LoginClient, identity: UserIdentity): Promise<Identity> {
    const { user, stamp } = identity;
    const issued = newToken(user, client);
    try {
      await this.#store.change((draft) => putToken(draft, issued, stamp), client.signal);
    } catch (error) {
      if (error instanceof AccountError) throw this.#changedMeanwhile(user, error);
      client.signal.throwIfAborted();
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
    return ended === null ? refusal("bad_credentials", "login refused", cause) : disabled(name, ended.reason);
  }

  #isCrowded(user: string): boolean {
    const { document } = this.#store;
    if (this.#crowded.document !== document) this.#crowded = { document, users: crowdedUsers(document) };
    return this.#crowded.users.has(user);
  }

  #hashRequest(
    { address, signal }: LoginClient,
    user: string | undefined,
  ): HashRequest & { signal: AbortSignal } {
    const source = sourceOf(address);
    return { source, user, isKnown: this.#knownSources.has(source), signal };
  }
}

/** Was the use that was recorded at `at` so long ago? False when nothing is recorded. */
function isDue(at: string | undefined, olderThanMs: number): boolean {
  return at !== undefined && Date.now() - Date.parse(at) >= olderThanMs;
}

/** An identity with an account behind it. */
type UserIdentity = Identity & { user: string; stamp: string };

/** What `work` comes to; a full queue as a LoginError. */
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

/** Names no unknown user, not even for the log: a password may have been typed in place of a name. */
function wrongPassword(name: string | undefined, user: User | undefined): LoginError {
  const isKnown = name !== undefined && user !== undefined;
  const flaw = isKnown ? userFlaw(name, user) : undefined;
  const reason = flaw?.message ?? `wrong password or user${isKnown ? ` for ${name}` : ""}`;
  const error = new LoginError("bad_credentials", reason, { peerMessage: "login refused" });
  error.user = isKnown ? name : undefined;
  return error;
}

function unknownAddress(): LoginError {
  return refusal("bad_name", "this address is not known: choose a name");
}

function tokenRefused(): LoginError {
  return refusal("token_refused", "this session token is no longer valid");
}
