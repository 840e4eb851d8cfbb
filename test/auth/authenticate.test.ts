// What a credential comes to, where a real socket cannot show it: all of a test's come from one address.

import { describe, expect, spyOn, test } from "bun:test";
import {
  addHost,
  addUser,
  disableUser,
  forgetHost,
  removeUser,
  replaceHash,
  setPassword,
  touchToken,
} from "../../src/auth/accounts.ts";
import { Authenticator } from "../../src/auth/authenticate.ts";
import { Cancellation } from "../../src/base/abort.ts";
import {
  LoginError,
  type AuthMode,
  type Candidate,
  type Identity,
  type LoginClient,
} from "../../src/auth/identity.ts";
import { newToken } from "../../src/auth/issued-token.ts";
import { PasswordHasher } from "../../src/auth/password.ts";
import type { Document } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { parseToken, proveToken, TOKEN_LABEL } from "../../src/auth/token.ts";
import { HOST_TOUCH_MS, MAX_REGISTRATIONS, MAX_TOKENS_PER_USER } from "../../src/base/limits.ts";
import { thrown } from "../support/changes.ts";
import { tempFolder } from "../support/folder.ts";
import { holdLock } from "../support/lock.ts";
import { CHEAP, PASSWORD } from "../support/server.ts";

function authenticate(mode: AuthMode, store: FileStore, hasher = new PasswordHasher(CHEAP)): Authenticator {
  return new Authenticator({
    mode,
    register: true,
    store,
    hasher,
    warn: () => undefined,
  });
}

const NEVER = new Cancellation();
const from = (address: string): LoginClient => ({ address, encrypted: false, attempt: NEVER });

/** The whole login of a candidate, with a token where that is wanted. */
const complete = async (candidate: Promise<Candidate>, wantsToken = false): Promise<Identity> =>
  (await candidate).complete(wantsToken);

test.each<
  [AuthMode, string, (authenticator: Authenticator, address: string, name: string) => Promise<unknown>]
>([
  ["ip", "names", (authenticator, address, name) => complete(authenticator.byName(from(address), name))],
  [
    "password",
    "accounts",
    (authenticator, address, name) => complete(authenticator.byRegistration(from(address), name, PASSWORD)),
  ],
])("--auth %s: one IPv6 network cannot fill the user file with %s", async (mode, _, enter) => {
  using folder = tempFolder();
  const authenticator = authenticate(mode, new FileStore(`${folder.path}/users.json`));
  for (let n = 0; n < MAX_REGISTRATIONS; n++) await enter(authenticator, `2001:db8::${n}`, `guest${n}`);
  const refused = enter(authenticator, "2001:db8::ffff", "one-more").catch((error: unknown) => error);
  expect(await refused).toMatchObject({ code: "rate_limited", retryAfter: expect.any(Number) });
  expect(await enter(authenticator, "2001:db8:0:1::1", "neighbour")).toMatchObject({ user: "neighbour" });
});

test("--auth ip: a known address is familiar, also to the next server", async () => {
  using folder = tempFolder();
  const path = `${folder.path}/users.json`;
  const first = authenticate("ip", new FileStore(path));
  expect(first.isKnownSource("192.0.2.1")).toBe(false);
  await complete(first.byName(from("192.0.2.1"), "Ann"));
  expect(first.isKnownSource("192.0.2.1")).toBe(true);
  expect(authenticate("ip", new FileStore(path)).isKnownSource("192.0.2.1")).toBe(true);
  // Where it takes a password, a name that was said proves nothing.
  expect(authenticate("password", new FileStore(path)).isKnownSource("192.0.2.1")).toBe(false);
});

/** Of another password. */
const OTHER_HASH = await new PasswordHasher(CHEAP).hash("another horse");
const AT = new Date("2026-01-02T03:04:05.678Z");

/** A store with the address 192.0.2.1, known as Ann. */
async function knownAddress(folder: string): Promise<FileStore> {
  const store = new FileStore(`${folder}/users.json`);
  await store.change((draft) => addHost(draft, "192.0.2.1", "Ann", AT));
  return store;
}

test("--auth ip: greetings of a known address write the user file once an hour", async () => {
  using folder = tempFolder();
  const store = await knownAddress(folder.path);
  const authenticator = authenticate("ip", store);
  const greet = () => complete(authenticator.byAddress(from("192.0.2.1")));
  const { rev } = store.document;
  for (let n = 0; n < 50; n++) expect(await greet()).toMatchObject({ user: "Ann", known: true });
  const seen = Date.parse(store.document.hosts.get("192.0.2.1")?.last ?? "");
  expect(seen).toBeGreaterThan(AT.getTime());
  expect(store.document.rev).toBe(rev + 1);
  const clock = spyOn(Date, "now").mockReturnValue(seen + HOST_TOUCH_MS);
  try {
    await greet();
  } finally {
    clock.mockRestore();
  }
  expect(store.document.rev).toBe(rev + 2);
});

test("--auth ip: an address in a conversation is written down as seen, and is not the oldest afterwards", async () => {
  using folder = tempFolder();
  const store = await knownAddress(folder.path);
  const authenticator = authenticate("ip", store);
  const { rev } = store.document;
  const inUse = [{ user: "Ann", method: "ip", known: true, address: "192.0.2.1" }];
  await authenticator.keepInUse(inUse, HOST_TOUCH_MS);
  expect(Date.parse(store.document.hosts.get("192.0.2.1")?.last ?? "")).toBeGreaterThan(AT.getTime());
  await authenticator.keepInUse(inUse, HOST_TOUCH_MS);
  expect(store.document.rev).toBe(rev + 1);
});

test("--register: there are no more users than there may be, whoever comes at once", async () => {
  using folder = tempFolder();
  const store = new FileStore(`${folder.path}/users.json`);
  const MAX = 3;
  const hasher = new PasswordHasher(CHEAP);
  const authenticator = new Authenticator({
    mode: "password",
    register: true,
    maxUsers: MAX,
    store,
    hasher,
    warn: () => undefined,
  });
  const lock = holdLock(store.place);
  const register = (n: number) =>
    complete(authenticator.byRegistration(from(`192.0.2.${n}`), `guest${n}`, PASSWORD)).catch(thrown);
  const all = Promise.all(Array.from({ length: 2 * MAX }, (_, n) => register(n)));
  lock[Symbol.dispose]();
  const codes = (await all).map((result) => (result instanceof LoginError ? result.code : "registered"));
  expect(codes.toSorted()).toEqual([...Array(MAX).fill("full"), ...Array(MAX).fill("registered")]);
  expect(store.document.users.size).toBe(MAX);
  const hash = spyOn(hasher, "hash");
  expect(await register(99)).toMatchObject({ code: "full", peerMessage: expect.stringContaining("3 users") });
  expect(hash).not.toHaveBeenCalled(); // it costs no hash
  // An operator may add more, and whoever is there may log in.
  await store.change((draft) => addUser(draft, "bob", OTHER_HASH, AT));
  expect(await complete(authenticator.byPassword(from("192.0.2.7"), "bob", "another horse"))).toMatchObject({
    user: "bob",
  });
});

test("--auth ip: a name that an operator changes during a login stays changed", async () => {
  using folder = tempFolder();
  const store = await knownAddress(folder.path);
  const operator = new FileStore(store.place);
  const lock = holdLock(store.place);
  const renamed = operator.change((draft) => {
    const host = draft.hosts.get("192.0.2.1");
    if (host !== undefined) draft.hosts.set("192.0.2.1", { ...host, name: "Anna" });
  });
  const login = complete(authenticate("ip", store).byAddress(from("192.0.2.1")));
  lock[Symbol.dispose]();
  const [identity] = await Promise.all([login, renamed]);
  expect(new FileStore(store.place).document.hosts.get("192.0.2.1")?.name).toBe("Anna");
  // Whichever came first, the session has the name that the file has, or ends when that changes.
  expect(["Ann", "Anna"]).toContain(identity.user ?? "");
});

test("--auth ip: an address that is forgotten during a login is not let in, and not known again", async () => {
  using folder = tempFolder();
  const store = await knownAddress(folder.path);
  const lock = holdLock(store.place);
  const forgotten = store.change((draft) => forgetHost(draft, "192.0.2.1"));
  const login = complete(authenticate("ip", store).byAddress(from("192.0.2.1"))).catch(thrown);
  lock[Symbol.dispose]();
  await forgotten;
  expect(await login).toMatchObject({ name: "LoginError", code: "bad_name" });
  expect(store.document.hosts.size).toBe(0);
});

test("--auth ip: of two first names of one address at once one is taken", async () => {
  using folder = tempFolder();
  const store = new FileStore(`${folder.path}/users.json`);
  const authenticator = authenticate("ip", store);
  const names = ["Ann", "Bob"].map((name) => complete(authenticator.byName(from("192.0.2.1"), name)));
  const [first, second] = await Promise.allSettled(names);
  expect(first).toMatchObject({ status: "fulfilled", value: { user: "Ann" } });
  expect(second).toMatchObject({ status: "rejected", reason: { code: "not_allowed" } });
  expect([...store.document.hosts.values()].map(({ name }) => name)).toEqual(["Ann"]);
});

test.each([
  [
    "ip",
    (authenticator: Authenticator, n: number) =>
      complete(authenticator.byName(from(`2001:db8::${n}`), `g${n}`)),
  ],
  [
    "password",
    (authenticator: Authenticator, n: number) =>
      complete(authenticator.byRegistration(from(`2001:db8::${n}`), `guest${n}`, PASSWORD)),
  ],
] as const)("--auth %s: no more newcomers than there may be, when all come at once", async (mode, enter) => {
  using folder = tempFolder();
  const store = new FileStore(`${folder.path}/users.json`);
  const authenticator = authenticate(mode, store);
  const lock = holdLock(store.place); // until all have asked
  let [rationed, entered] = [0, 0];
  const allAsked = Promise.withResolvers<void>();
  const ask = async (n: number) => {
    for (;;) {
      const result = await enter(authenticator, n).catch(thrown);
      const { code } = result as { code?: string };
      if (code === undefined) entered++;
      if (code === "rate_limited" && ++rationed === MAX_REGISTRATIONS) allAsked.resolve();
      if (code !== "busy") return;
      await new Promise((resolve) => setImmediate(resolve)); // the hash queue has few places
    }
  };
  const all = Promise.all(Array.from({ length: 2 * MAX_REGISTRATIONS }, (_, n) => ask(n)));
  await Promise.race([allAsked.promise, all]);
  lock[Symbol.dispose]();
  await all;
  expect([rationed, entered]).toEqual([MAX_REGISTRATIONS, MAX_REGISTRATIONS]);
  expect(store.document.hosts.size + store.document.users.size).toBe(MAX_REGISTRATIONS);
});

test("a newcomer who comes to nothing does not count", async () => {
  using folder = tempFolder();
  const store = await knownAddress(folder.path);
  const authenticator = authenticate("ip", store);
  for (let n = 0; n < 2 * MAX_REGISTRATIONS; n++) {
    expect(await complete(authenticator.byName(from("192.0.2.2"), "ann")).catch(thrown)).toMatchObject({
      code: "name_taken",
    });
  }
  expect(await complete(authenticator.byName(from("192.0.2.2"), "Bob"))).toMatchObject({ user: "Bob" });
});

test("a login from a source with an earlier login is hashed before those of strangers", async () => {
  using folder = tempFolder();
  const authenticator = authenticate("password", new FileStore(`${folder.path}/users.json`));
  await complete(authenticator.byRegistration(from("192.0.2.1"), "ann", PASSWORD));
  const gate = Promise.withResolvers<void>();
  using verify = spyOn(Bun.password, "verify").mockImplementation((password) =>
    gate.promise.then(() => password === PASSWORD),
  );
  const turns = async () => {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const strangers = Array.from({ length: 8 }, (_, n) =>
    authenticator.byPassword(from(`198.51.100.${n}`), "ann", `guess ${n}`).catch(thrown),
  );
  await turns(); // each has read the store, and asked for its hash
  const running = verify.mock.calls.length;
  const known = authenticator.byPassword(from("192.0.2.1"), "ann", PASSWORD);
  await turns();
  gate.resolve();
  await known;
  const order = verify.mock.calls.map(([password]) => password);
  expect(order.indexOf(PASSWORD)).toBe(running);
  await Promise.all(strangers);
});

/** A hasher that says what it found once `gate` is open. */
class GatedHasher extends PasswordHasher {
  readonly gate = Promise.withResolvers<void>();

  override async verify(...asked: Parameters<PasswordHasher["verify"]>): Promise<boolean> {
    const matches = await super.verify(...asked);
    await this.gate.promise;
    return matches;
  }
}

describe("while a right password is hashed", () => {
  const CHANGES: [what: string, change: (draft: Document) => void, outcome: object][] = [
    ["is disabled", (draft) => disableUser(draft, "ann", "on holiday", AT), { code: "disabled" }],
    ["is removed", (draft) => removeUser(draft, "ann"), { code: "bad_credentials" }],
    [
      "is given another password",
      (draft) => setPassword(draft, "ann", OTHER_HASH, false, AT),
      { code: "bad_credentials" },
    ],
    [
      "is given another password, and keeps its sessions",
      (draft) => setPassword(draft, "ann", OTHER_HASH, true, AT),
      { code: "bad_credentials" },
    ],
  ];
  test.each(CHANGES)("the user %s by another process: the login is refused", async (_, change, outcome) => {
    using folder = tempFolder();
    const store = new FileStore(`${folder.path}/users.json`);
    const hasher = new GatedHasher(CHEAP);
    const authenticator = authenticate("password", store, hasher);
    await complete(authenticator.byRegistration(from("192.0.2.1"), "ann", PASSWORD));
    const login = complete(authenticator.byPassword(from("192.0.2.1"), "ann", PASSWORD)).catch(thrown);
    await new FileStore(store.place).change(change);
    hasher.gate.resolve();
    expect(await login).toMatchObject({ name: "LoginError", ...outcome });
  });

  test("the user's hash is remade: the login is let in", async () => {
    using folder = tempFolder();
    const store = new FileStore(`${folder.path}/users.json`);
    const hasher = new GatedHasher(CHEAP);
    const authenticator = authenticate("password", store, hasher);
    await complete(authenticator.byRegistration(from("192.0.2.1"), "ann", PASSWORD));
    const remade = await new PasswordHasher(CHEAP).hash(PASSWORD);
    const login = complete(authenticator.byPassword(from("192.0.2.1"), "ann", PASSWORD));
    await store.change((draft) => replaceHash(draft, "ann", draft.users.get("ann")?.password ?? "", remade));
    hasher.gate.resolve();
    expect(await login).toMatchObject({ user: "ann" });
  });
});

describe("a token of a user who has too many", () => {
  /** ann, with one token more than stay, and the text of one of them. */
  async function crowded(folder: string) {
    const store = new FileStore(`${folder}/users.json`);
    const authenticator = authenticate("password", store);
    const first = await complete(authenticator.byRegistration(from("192.0.2.1"), "ann", PASSWORD), true);
    const { token } = newToken("ann", from("192.0.2.1"));
    await store.change((draft) => {
      for (let n = 0; n < MAX_TOKENS_PER_USER; n++) draft.tokens.set(`token00${n}`, token);
    });
    const parts = parseToken(first.newToken?.text ?? "");
    if (parts === undefined) throw new Error("no token");
    const nonce = new Uint8Array(24);
    const proof = proveToken(parts.secret, TOKEN_LABEL, nonce, new Uint8Array());
    const plain = { name: "tls-exporter", value: new Uint8Array() } as const;
    const logIn = () => complete(authenticator.byToken(from("192.0.2.1"), parts.id, proof, nonce, plain));
    return { store, id: parts.id, logIn };
  }

  test("is written down as used before it is let in", async () => {
    using folder = tempFolder();
    const { store, id, logIn } = await crowded(folder.path);
    const before = new Date(Date.now() - 1000);
    await store.change((draft) => touchToken(draft, id, before));
    expect(await logIn()).toMatchObject({ user: "ann", tokenId: id });
    expect(new FileStore(store.place).document.tokens.get(id)?.used).not.toBe(before.toISOString());
  });

  test("is refused when it is taken away at that moment", async () => {
    using folder = tempFolder();
    const { store, id, logIn } = await crowded(folder.path);
    const lock = holdLock(store.place);
    const taken = store.change((draft) => draft.tokens.delete(id));
    const login = logIn().catch(thrown);
    lock[Symbol.dispose]();
    await taken;
    expect(await login).toMatchObject({ code: "token_refused" });
  });
});
