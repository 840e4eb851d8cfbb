// --store and its companions: which engine they name, and what cannot be used together.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ParleyError } from "../../src/base/errors.ts";
import { Flags } from "../../src/cli/flags.ts";
import { KnownStores } from "../../src/cli/known-stores.ts";
import { planStore, type StoreFlag } from "../../src/cli/store.ts";
import { DataFolder } from "../../src/files/data-folder.ts";
import { selfSigned } from "../support/certificates.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

let folder: TempFolder;
beforeEach(() => (folder = tempFolder()));
afterEach(() => {
  folder[Symbol.dispose]();
  delete process.env["PARLEY_STORE"];
  delete process.env["PARLEY_STORE_PASSWORD"];
});

const plan = (args: Partial<Record<StoreFlag, string>>, hasAccounts?: boolean) =>
  planStore(new Flags<StoreFlag>(args), hasAccounts);

/** A file of the test's, and its path. */
function file(name: string, text: string): string {
  const path = join(folder.path, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** The message and the hint of what is thrown. */
function failureOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof ParleyError) return `${error.code}: ${error.message} / ${error.hint ?? ""}`;
    throw error;
  }
  throw new Error("it did not fail");
}

const REDIS = "redis://127.0.0.1:7000";

describe("the plan", () => {
  test("is none without a URL, whatever the password", () => {
    process.env["PARLEY_STORE_PASSWORD"] = "secret";
    process.env["PARLEY_STORE"] = "";
    expect(plan({})).toBeUndefined();
  });

  test("has URL, name and password; flags win over the environment, which loses the password", () => {
    process.env["PARLEY_STORE"] = "redis://127.0.0.1:7001";
    process.env["PARLEY_STORE_PASSWORD"] = "of the environment";
    const first = plan({ "store-name": "lab_2-x" });
    expect(first).toMatchObject({ name: "lab_2-x", access: { password: "of the environment" } });
    expect(first?.access.target.shown).toBe("redis://127.0.0.1:7001");
    expect(process.env["PARLEY_STORE_PASSWORD"]).toBeUndefined();
    const second = plan({ store: REDIS, "store-password-file": file("password", "of the file\n") });
    expect(second).toMatchObject({ name: "parley", access: { password: "of the file" } });
    expect(second?.access.target.shown).toBe(REDIS);
  });

  test("has authorities, certificate and key of an engine over TLS", async () => {
    const { certificate, key } = await selfSigned();
    const [cert, secret] = [file("cert.pem", certificate), file("key.pem", key)];
    const flags = { store: "rediss://127.0.0.1", "store-ca": cert, "store-cert": cert, "store-key": secret };
    expect(plan(flags)?.access).toMatchObject({ ca: certificate, cert: certificate, key });
    const { key: other } = await selfSigned();
    expect(failureOf(() => plan({ ...flags, "store-key": file("other.pem", other) }))).toContain(
      "does not match",
    );
    expect(failureOf(() => plan({ ...flags, "store-ca": file("none.pem", "no") }))).toContain(
      "no certificate in PEM",
    );
  });

  test.each<[Partial<Record<StoreFlag, string>>, string]>([
    [{ "store-name": "x" }, "usage: --store-name requires --store / "],
    [{ "store-ca": "ca.pem" }, "usage: --store-ca requires --store / "],
    [{ store: REDIS, "store-name": "a b" }, 'usage: --store-name: invalid name "a b" / use up to 64 letters'],
    [{ store: REDIS, "store-name": "é" }, 'usage: --store-name: invalid name "é" / '],
    [{ store: REDIS, "store-name": "x".repeat(65) }, "usage: --store-name: invalid name "],
    [{ store: REDIS, "store-ca": "x" }, "usage: --store-ca requires a URL of rediss:// / "],
    [{ store: `${REDIS}/x` }, "usage: --store: invalid database in "],
    [{ store: "rediss://h", "store-cert": "x" }, "usage: --store-cert and --store-key require each other / "],
    [{ store: REDIS, "store-password-file": "/none" }, "usage: --store-password-file: cannot read /none"],
  ])("%j is refused", (args, message) => {
    expect(failureOf(() => plan(args))).toStartWith(message);
  });

  test("names the variable that is wrong, and is not asked for where there are no accounts", () => {
    process.env["PARLEY_STORE"] = "http://127.0.0.1";
    expect(failureOf(() => plan({}))).toStartWith("usage: $PARLEY_STORE: invalid URL in ");
    expect(plan({}, false)).toBeUndefined();
  });
});

describe("the stores that a folder knows", () => {
  const key = { store: REDIS, name: "parley" };
  const stores = () => new KnownStores(new DataFolder(folder.path));

  test("have one identity for each URL and name, and the first stays", async () => {
    expect(stores().find(key)).toBeUndefined();
    await stores().add(key, "one");
    await stores().add({ ...key, name: "__proto__" }, "two");
    await stores().add(key, "three");
    expect([stores().find(key), stores().find({ ...key, name: "__proto__" })]).toEqual(["one", "two"]);
    expect(stores().find({ ...key, store: "redis://127.0.0.1" })).toBeUndefined();
  });

  test("are none, and stay none, without a folder", async () => {
    const none = new KnownStores(new DataFolder(join(folder.path, "none")));
    await none.add(key, "one");
    expect(none.find(key)).toBeUndefined();
    expect(new DataFolder(join(folder.path, "none")).exists).toBe(false);
  });

  test("are refused in a damaged file, which stays", async () => {
    const path = file("stores.json", '{"version":2}');
    expect(failureOf(() => stores().find(key))).toStartWith(
      `corrupt: ${path} is damaged / repair it by hand`,
    );
    expect(stores().add(key, "one")).rejects.toThrow("is damaged");
  });
});
