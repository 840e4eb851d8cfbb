// Which entries of the user file are said to be of no use, and when.

import { describe, expect, test } from "bun:test";
import { emptyDocument, type Document } from "../../src/auth/document.ts";
import { flawLines, Flaws } from "../../src/auth/flaws.ts";
import { MAX_FLAWS_SHOWN } from "../../src/base/limits.ts";
import { BCRYPT, BCRYPT_FLAW, FOREIGN } from "../support/hashes.ts";

const AT = "2026-01-02T03:04:05.678Z";
const HOST = { name: "Ann", first: AT, last: AT };
const PLAIN = "a plain password";

function documentOf(hashes: Record<string, string>, addresses: string[] = []): Document {
  const document = emptyDocument();
  for (const [name, password] of Object.entries(hashes)) {
    document.users.set(name, { password, created: AT, disabled: null });
  }
  for (const address of addresses) document.hosts.set(address, HOST);
  return document;
}

describe("a hash that cannot be used", () => {
  test("is named by its user, with a hint, and without a word of the hash", () => {
    const document = documentOf({ ann: FOREIGN["four lanes"], bob: BCRYPT, eve: PLAIN, joe: "" });
    const flaws = new Flaws("password").news(document);
    expect(flaws).toEqual([
      {
        user: "bob",
        message: `cannot use the password hash of user bob: ${BCRYPT_FLAW}`,
        hint: "set a new password with: parley users passwd bob",
      },
      {
        user: "eve",
        message: "cannot use the password hash of user eve: it is not an argon2id hash",
        hint: "set a new password with: parley users passwd eve",
      },
      {
        user: "joe",
        message: "cannot use the password hash of user joe: it is empty",
        hint: "set a new password with: parley users passwd joe",
      },
    ]);
    expect(JSON.stringify(flaws)).not.toContain(PLAIN);
  });

  test("is news once, and again when it has become another one, or come back", () => {
    const flaws = new Flaws("password");
    const news = (hashes: Record<string, string>) => flaws.news(documentOf(hashes)).map(({ user }) => user);
    expect(news({ ann: BCRYPT, bob: FOREIGN["one lane"] })).toEqual(["ann"]);
    expect(news({ ann: BCRYPT, bob: FOREIGN["one lane"] })).toEqual([]);
    expect(news({ ann: BCRYPT, bob: PLAIN })).toEqual(["bob"]);
    expect(news({ ann: BCRYPT.replace("$10$", "$12$"), bob: PLAIN })).toEqual(["ann"]);
    expect(news({ ann: FOREIGN["one lane"], bob: PLAIN })).toEqual([]);
    expect(news({ ann: BCRYPT, bob: PLAIN })).toEqual(["ann"]);
  });

  test.each(["ip", "none"] as const)("is none where no password is asked for: %s", (mode) => {
    expect(new Flaws(mode).news(documentOf({ ann: BCRYPT }))).toEqual([]);
  });
});

describe("an address that no client comes from", () => {
  const addresses = ["127.0.0.1", "2001:db8::1", "fe80::1%eth0", "2001:DB8::1", "::ffff:192.0.2.1", "abcdef"];

  test("is named, with what it has to be", () => {
    const messages = new Flaws("ip").news(documentOf({}, addresses)).map(({ message }) => message);
    expect(messages).toEqual([
      "the known address 2001:DB8::1 matches no client: it must be written as 2001:db8::1",
      "the known address ::ffff:192.0.2.1 matches no client: it must be written as 192.0.2.1",
      "the known address abcdef matches no client: it is not an address",
    ]);
  });

  test("is none where addresses are not looked at", () => {
    expect(new Flaws("password").news(documentOf({}, addresses))).toEqual([]);
  });
});

test("a terminal shows the first of many", () => {
  const hashes = Object.fromEntries(Array.from({ length: MAX_FLAWS_SHOWN + 5 }, (_, n) => [`u${n}`, ""]));
  const lines = flawLines(new Flaws("password").news(documentOf(hashes)));
  expect(lines).toHaveLength(MAX_FLAWS_SHOWN + 1);
  expect([lines[0], lines.at(-1)]).toEqual([
    "cannot use the password hash of user u0: it is empty",
    "and 5 more",
  ]);
});
