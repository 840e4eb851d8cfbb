// What a credential comes to, where a real socket cannot show it: all of a test's come from one address.

import { expect, test } from "bun:test";
import { Authenticator, type AuthMode } from "../../src/auth/authenticate.ts";
import { PasswordHasher } from "../../src/auth/password.ts";
import { Store } from "../../src/auth/store.ts";
import { MAX_NEWCOMERS } from "../../src/limits.ts";
import { tempFolder } from "../support/folder.ts";
import { CHEAP, PASSWORD } from "../support/server.ts";

function authenticate(mode: AuthMode, store: Store): Authenticator {
  return new Authenticator({
    mode,
    register: true,
    store,
    hasher: new PasswordHasher(CHEAP),
    tokensInUse: () => new Set(),
    warn: () => undefined,
  });
}

const from = (address: string) => ({ address, encrypted: false, isThere: () => true });

test.each<
  [AuthMode, string, (authenticator: Authenticator, address: string, name: string) => Promise<unknown>]
>([
  ["ip", "names", (authenticator, address, name) => authenticator.byName(from(address), name)],
  [
    "password",
    "accounts",
    (authenticator, address, name) => authenticator.register(from(address), name, PASSWORD),
  ],
])("--auth %s: one IPv6 network cannot fill the user file with %s", async (mode, _, enter) => {
  using folder = tempFolder();
  const authenticator = authenticate(mode, new Store(`${folder.path}/users.json`));
  for (let n = 0; n < MAX_NEWCOMERS; n++) await enter(authenticator, `2001:db8::${n}`, `guest${n}`);
  const refused = enter(authenticator, "2001:db8::ffff", "one-more").catch((error: unknown) => error);
  expect(await refused).toMatchObject({ code: "rationed", retryAfter: expect.any(Number) });
  expect(await enter(authenticator, "2001:db8:0:1::1", "neighbour")).toMatchObject({ user: "neighbour" });
});

test("--auth ip: a known address is familiar, also to the next server", async () => {
  using folder = tempFolder();
  const path = `${folder.path}/users.json`;
  const first = authenticate("ip", new Store(path));
  expect(first.isFamiliar("192.0.2.1")).toBe(false);
  await first.byName(from("192.0.2.1"), "Ann");
  expect(first.isFamiliar("192.0.2.1")).toBe(true);
  expect(authenticate("ip", new Store(path)).isFamiliar("192.0.2.1")).toBe(true);
  // Where it takes a password, a name that was said proves nothing.
  expect(authenticate("password", new Store(path)).isFamiliar("192.0.2.1")).toBe(false);
});
