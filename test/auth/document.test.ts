// The text of users.json: nothing unknown is lost in it, and nothing damaged is taken for content.

import { describe, expect, test } from "bun:test";
import {
  DocumentDraft,
  emptyDocument,
  exportedUser,
  formatDocument,
  formatInSlices,
  parseDocument,
  parseUser,
  type User,
} from "../../src/auth/document.ts";
import { TAG_RULE } from "../../src/auth/tags.ts";

const PATH = "/data/users.json";
const AT = "2026-01-02T03:04:05.678Z";
const USER = { password: "$argon2id$x", created: AT, disabled: null };
const TOKEN = { user: "ann", key: `${"A".repeat(43)}=`, created: AT, used: AT, expires: AT };
const HOST = { name: "Ann", first: AT, last: AT };
const FULL = {
  version: 1,
  rev: 7,
  users: {
    ann: { ...USER, changed: AT, last_login: AT, shoe: { size: [42] } },
    "42": { ...USER, disabled: { since: AT, reason: "left", by: "root" } },
    jürgen: USER,
  },
  tokens: { abcdEF01: { ...TOKEN, peer: "127.0.0.1:5", label: "laptop" } },
  hosts: { "127.0.0.1": { ...HOST, seen: 3 }, "fe80::1%eth0": HOST },
  plugins: { mail: ["a", null] },
  note: "kept",
};
const TEXT = `${JSON.stringify(FULL, null, 2)}\n`;

function corrupt(message: string) {
  return expect.objectContaining({ name: "FileError", code: "corrupt", message });
}

describe("round trip", () => {
  test("keeps every member it knows and every one it does not, at every level", () => {
    const text = formatDocument(parseDocument(TEXT, PATH));
    expect(JSON.parse(text)).toEqual(FULL);
    expect(formatDocument(parseDocument(text, PATH))).toBe(text);
  });

  test("reads a file without users, tokens and hosts as one with none, as an empty one is written", () => {
    expect(parseDocument('{"version":1,"rev":0}', PATH)).toEqual(emptyDocument());
    expect(parseDocument(formatDocument(emptyDocument()), PATH)).toEqual(emptyDocument());
  });

  test("writes a member a line, so that a person can mend it", () => {
    const user = parseDocument(formatDocument(parseDocument(TEXT, PATH)), PATH);
    expect(formatDocument(user).split("\n")).toContain('      "password": "$argon2id$x",');
  });

  test("writes many records in slices, as JSON.stringify writes them at once", () => {
    for (const count of [0, 1, 199, 200, 201, 1000]) {
      const users = Object.fromEntries(Array.from({ length: count }, (_, n) => [`user-${n}`, USER]));
      const tokens = Object.fromEntries(
        Array.from({ length: count }, (_, n) => [`T${1_000_000 + n}`, TOKEN]),
      );
      const { version, rev, hosts, plugins, note } = FULL;
      const text = `${JSON.stringify({ version, rev, users, tokens, hosts, plugins, note }, null, 2)}\n`;
      const slices = [...formatInSlices(parseDocument(text, PATH))];
      expect(slices.join("")).toBe(text);
      expect(Math.max(...slices.map(({ length }) => length))).toBeLessThan(100_000);
    }
  });

  test.each(["constructor", "tostring", "valueof", "hasownproperty", "42", "-".padStart(32, "x")])(
    "takes %s for a name like any other",
    (name) => {
      const document = emptyDocument();
      expect(document.users.has(name)).toBe(false);
      document.users.set(name, USER);
      const again = parseDocument(formatDocument(document), PATH);
      expect([...again.users]).toEqual([[name, USER]]);
    },
  );

  // Not yet: valibot leaves out members of these names.
  test.each(["constructor", "prototype"])("keeps an unknown member called %s", (name) => {
    const text = JSON.stringify({ version: 1, rev: 0, users: { ann: { ...USER, [name]: 1 } } });
    expect(formatDocument(parseDocument(text, PATH))).toContain(`"${name}": 1`);
  });
});

describe("a prototype's key", () => {
  test.each(["users", "tokens", "hosts"])("is impossible in %s", (table) => {
    const entry = JSON.stringify({ users: USER, tokens: TOKEN, hosts: HOST }[table]);
    const text = `{"version":1,"rev":0,"${table}":{"__proto__":${entry}}}`;
    expect(() => parseDocument(text, PATH)).toThrow(
      corrupt(`${PATH} is damaged: ${table} has the invalid key "__proto__"`),
    );
  });

  test("touches no prototype and lends no member, wherever it stands", () => {
    const proto = `"__proto__":{"polluted":1,"disabled":null}`;
    const whole = JSON.stringify(USER).replace("{", `{${proto},`);
    const document = parseDocument(`{${proto},"version":1,"rev":0,"users":{"ann":${whole}}}`, PATH);
    for (const object of [{}, document, document.rest, document.users.get("ann")]) {
      expect(object).not.toHaveProperty("polluted");
    }
    const lacking = `{"password":"x","created":"${AT}",${proto}}`;
    expect(() => parseDocument(`{"version":1,"rev":0,"users":{"ann":${lacking}}}`, PATH)).toThrow(
      /users\.ann\.disabled is missing/,
    );
  });
});

describe("corrupt, and said to be:", () => {
  test("a file of zero bytes", () => {
    expect(() => parseDocument("", PATH)).toThrow(corrupt(`${PATH} is damaged: it is empty`));
  });

  test.each(Array.from({ length: 15 }, (_, i) => i + 1))("a file cut off after %d/16", (sixteenths) => {
    const text = TEXT.slice(0, Math.floor((TEXT.length * sixteenths) / 16));
    expect(() => parseDocument(text, PATH)).toThrow(
      expect.objectContaining({ code: "corrupt", hint: expect.stringContaining("nothing was changed") }),
    );
  });

  test("what a member should be is said", () => {
    const said = (damage: object) => {
      try {
        return formatDocument(parseDocument(JSON.stringify({ ...FULL, ...damage }), PATH));
      } catch (error) {
        return (error as Error).message.replace(`${PATH} is damaged: `, "");
      }
    };
    expect(said({ rev: 0.5 })).toBe("rev should be a whole number");
    expect(said({ users: [] })).toBe("users should be an object");
    expect(said({ users: { ann: 3 } })).toBe("users.ann should be an object");
    const created = "users.ann.created should be a time such as 2026-01-02T03:04:05Z";
    expect(said({ users: { ann: { ...USER, created: "yesterday" } } })).toBe(created);
    expect(said({ tokens: { abcdEF01: { ...TOKEN, via: "mail" } } })).toBe(
      "tokens.abcdEF01.via should be tls or plain",
    );
  });

  const DAMAGES: [damage: object | null | string, named: string][] = [
    [null, "it"],
    ["users", "it"],
    [{ rev: 0 }, "version"],
    [{ version: "1", rev: 0 }, "version"],
    [{ version: 1 }, "rev"],
    [{ version: 1, rev: -1 }, "rev"],
    [{ version: 1, rev: 0.5 }, "rev"],
    [{ ...FULL, users: [] }, "users"],
    [{ ...FULL, tokens: null }, "tokens"],
    [{ ...FULL, hosts: "none" }, "hosts"],
    [{ ...FULL, users: { ann: 3 } }, "users.ann"],
    [{ ...FULL, users: { ann: { ...USER, password: null } } }, "users.ann.password"],
    [{ ...FULL, users: { ann: { ...USER, created: "yesterday" } } }, "users.ann.created"],
    [{ ...FULL, users: { ann: { ...USER, changed: null } } }, "users.ann.changed"],
    [{ ...FULL, users: { ann: { ...USER, disabled: false } } }, "users.ann.disabled"],
    [{ ...FULL, users: { ann: { ...USER, disabled: {} } } }, "users.ann.disabled.since"],
    [{ ...FULL, tokens: { abcdEF01: { ...TOKEN, key: "short" } } }, "tokens.abcdEF01.key"],
    [{ ...FULL, tokens: { abcdEF01: { ...TOKEN, key: "A".repeat(44) } } }, "tokens.abcdEF01.key"],
    [{ ...FULL, tokens: { abcdEF01: { ...TOKEN, key: `${"A".repeat(42)}==` } } }, "tokens.abcdEF01.key"],
    [{ ...FULL, tokens: { abcdEF01: { ...TOKEN, expires: 1 } } }, "tokens.abcdEF01.expires"],
    [{ ...FULL, hosts: { "127.0.0.1": { ...HOST, name: 1 } } }, "hosts.127.0.0.1.name"],
  ];
  test.each(DAMAGES)("%j, by naming %s", (damage, named) => {
    const start = new RegExp(`^${PATH} is damaged: ${named} (?:should be |is missing$)`);
    expect(() => parseDocument(JSON.stringify(damage), PATH)).toThrow(corrupt(expect.stringMatching(start)));
  });

  const KEYS: [table: string, key: string, entry: object][] = [
    ["users", "", USER],
    ["users", "Ann", USER],
    ["users", "-ann", USER],
    ["users", "a b", USER],
    ["users", "x".repeat(33), USER],
    ["users", "ju\u0308rgen", USER],
    ["tokens", "abcdEF0", TOKEN],
    ["tokens", "abcdEF01x", TOKEN],
    ["tokens", "abcd-F01", TOKEN],
    ["hosts", "a", HOST],
    ["hosts", "127.0.0.1\n", HOST],
  ];
  test.each(KEYS)("in %s the key %j", (table, key, entry) => {
    const text = JSON.stringify({ version: 1, rev: 0, [table]: { [key]: entry } });
    const message = `${PATH} is damaged: ${table} has the invalid key ${JSON.stringify(key)}`;
    expect(() => parseDocument(text, PATH)).toThrow(corrupt(message));
  });
});

describe("a higher version", () => {
  const refusal = expect.objectContaining({
    code: "corrupt",
    message: `${PATH} has version 3, this parley supports versions 1 and 2`,
    hint: "use the version of parley that wrote it",
  });

  test("is refused, whatever has become of users, tokens and hosts", () => {
    const text = JSON.stringify({ ...FULL, version: 3, users: { "": 1 } });
    expect(() => parseDocument(text, PATH)).toThrow(refusal);
  });

  // Not yet: called damaged, with the advice to mend it by hand.
  test("is refused as such also when its other members are unlike ours", () => {
    expect(() => parseDocument('{"version":3,"users":[]}', PATH)).toThrow(refusal);
  });
});

test("a draft changes its document when it is applied, and not before", () => {
  const document = parseDocument(TEXT, PATH);
  const before = formatDocument(document);
  const draft = new DocumentDraft(document);
  expect(formatDocument(draft)).toBe(before);
  draft.rev++;
  draft.server = "another-server";
  for (const table of [draft.users, draft.tokens, draft.hosts])
    for (const key of table.keys()) table.delete(key);
  const after = formatDocument(draft);
  expect(formatDocument(document)).toBe(before);
  draft.apply();
  expect(formatDocument(document)).toBe(after);
  expect(JSON.parse(after)).toMatchObject({ server: "another-server", users: {}, tokens: {}, hosts: {} });
});

describe("a user from elsewhere", () => {
  const now = new Date(AT);
  const NEW = { ...USER, id: expect.any(String) };

  test("has an id of its own, which another one does not share, whatever it came with", () => {
    const [one, other] = [parseUser({ ...USER, id: "given" }, now), parseUser({ ...USER, id: "given" }, now)];
    expect(one).toEqual(NEW);
    expect(one).not.toMatchObject({ id: "given" });
    expect(one).not.toEqual(other);
    expect(exportedUser(one as User)).toEqual(USER);
  });

  test("dates from now and is enabled, unless it says otherwise", () => {
    expect(parseUser({ password: "$argon2id$x" }, now)).toEqual(NEW);
    const other = { ...USER, created: "2020-01-01T00:00:00.000Z", disabled: { since: AT }, extra: 1 };
    expect(parseUser(other, now)).toEqual({ ...other, id: expect.any(String) });
  });

  test("may be disabled by a mere true, since now, and enabled by a mere false", () => {
    expect(parseUser({ ...USER, disabled: true }, now)).toEqual({ ...NEW, disabled: { since: AT } });
    expect(parseUser({ ...USER, disabled: false }, now)).toEqual(NEW);
  });

  test.each(["constructor", "prototype"])("keeps an unknown member called %s", (name) => {
    expect(parseUser({ ...USER, [name]: 1 }, now)).toHaveProperty(name, 1);
  });

  const TIME = "a time such as 2026-01-02T03:04:05Z";
  test.each([
    [{}, "password is missing"],
    [{ password: 1 }, "password should be a string"],
    [{ ...USER, created: "then" }, `created should be ${TIME}`],
    [{ ...USER, created: 1767323045 }, `created should be ${TIME}`],
    [{ ...USER, last_login: null }, `last_login should be ${TIME}`],
    [{ ...USER, disabled: "yes" }, "disabled should be null or an object"],
    ...["teacher", [1], ["a b"], ["-x"], ["a".repeat(33)], ["a", "a"], Array.from("abcdefghijklmnopq")].map(
      (tags): [object, string] => [
        { ...USER, tags },
        `tags should be at most 16 different tags: ${TAG_RULE}`,
      ],
    ),
    [{ ...USER, disabled: { since: "then" } }, `disabled.since should be ${TIME}`],
    [{ ...USER, disabled: { since: AT, reason: 1 } }, "disabled.reason should be a string"],
  ])("is none, and the member is named: %j", (value, flaw) => {
    expect(parseUser(value, now)).toBe(flaw);
  });
});
