// parley users: the accounts, tokens and known addresses of a server, whether it runs or not.
//
// Each command is one change of users.json or one look at it; a running server notices within a second.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { defineCommand } from "citty";
import {
  AccountError,
  addUser,
  aliveUntil,
  disableUser,
  enableUser,
  forgetHost,
  isAlive,
  removeUser,
  revokeTokens,
  setPassword,
  userExists,
} from "../auth/accounts.ts";
import { parseUser, type User } from "../auth/document.ts";
import { NAME_RULE, normalizeName } from "../auth/name.ts";
import { hashCost, PasswordHasher, passwordFlaw } from "../auth/password.ts";
import { Store } from "../auth/store.ts";
import { DataFolder } from "../data-folder.ts";
import { messageOf, ParleyError, systemCode, usageError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { MIN_PASSWORD_LENGTH } from "../limits.ts";
import { Flags, secretFlags, terminalOf } from "./flags.ts";
import { commonFlags, type Arguments, type FlagsDef } from "./parse.ts";

const usersFlags = {
  ...commonFlags,
  json: { type: "boolean", description: "one JSON object a line" },
} satisfies FlagsDef;

const NAME = { name: { type: "positional", valueHint: "NAME", description: "the user" } } satisfies FlagsDef;

const PASSWORD = {
  "password-file": { type: "string", valueHint: "FILE", description: "read the password from a file" },
  "password-stdin": { type: "boolean", description: "read the password from standard input" },
  generate: { type: "boolean", description: "make a password and print it" },
  "min-password": {
    type: "string",
    valueHint: "N",
    description: `shortest password (${MIN_PASSWORD_LENGTH})`,
  },
} satisfies FlagsDef;

const YES = { yes: { type: "boolean", description: "do not ask" } } satisfies FlagsDef;

type Cell = string | number | null;

/** What every one of these commands works with. */
class Desk<Name extends string> {
  readonly flags: Flags<Name | keyof typeof usersFlags>;
  readonly terminal;
  readonly store: Store;

  constructor(args: unknown) {
    this.flags = new Flags(args as Arguments);
    this.terminal = terminalOf(this.flags);
    this.store = new Store(new DataFolder(this.flags.text("data")).users);
  }

  /** The user named on the command line. @throws {ParleyError} `usage` when that can be no user. */
  name(text: string | undefined): string {
    const name = normalizeName(text ?? "");
    if (name === undefined) throw usageError(`${JSON.stringify(text)} is no user name`, NAME_RULE);
    return name;
  }

  /** One thing done: an object with `--json`, otherwise a sentence. */
  done(event: Readonly<Record<string, unknown>>, sentence: string): void {
    process.stdout.write(this.flags.has("json") ? `${JSON.stringify(event)}\n` : `${escapeLine(sentence)}\n`);
  }

  /** A table: objects with `--json`, otherwise columns under a heading; nothing but a notice when it is empty. */
  table(rows: Readonly<Record<string, Cell>>[], empty: string): void {
    if (this.flags.has("json")) {
      for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`);
      return;
    }
    if (rows.length === 0) return void (this.terminal.isWatched && this.terminal.note(empty));
    const names = Object.keys(rows[0] ?? {});
    const cells = [
      names.map((name) => name.toUpperCase()),
      ...rows.map((row) => names.map((name) => cell(row[name]))),
    ];
    const widths = names.map((_, column) =>
      Math.max(...cells.map((line) => Bun.stringWidth(line[column] ?? ""))),
    );
    for (const line of cells) {
      const padded = line.map(
        (text, column) => text + " ".repeat((widths[column] ?? 0) - Bun.stringWidth(text)),
      );
      process.stdout.write(`${padded.join("  ").trimEnd()}\n`);
    }
  }
}

function cell(value: Cell | undefined): string {
  if (value === null || value === undefined) return "-";
  return escapeLine(typeof value === "string" ? value.replace(/\.\d{3}Z$/, "Z") : String(value));
}

const add = defineCommand({
  meta: { name: "add", description: "create a user" },
  args: {
    ...NAME,
    ...PASSWORD,
    "if-missing": { type: "boolean", description: "an existing user is no error, and stays as it is" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const desk = new Desk<"name" | keyof typeof PASSWORD | "if-missing">(args);
    const name = desk.name(desk.flags.text("name"));
    const ifMissing = desk.flags.has("if-missing");
    if (desk.store.document.users.has(name)) {
      if (!ifMissing) throw userExists(name);
      return desk.done({ event: "exists", user: name }, `user ${name} is there already`);
    }
    const { password, generated } = await newPassword(desk, name);
    const hash = await new PasswordHasher().hash(password, "local");
    await desk.store.change((draft) => {
      if (!(ifMissing && draft.users.has(name))) addUser(draft, name, hash, new Date());
    });
    announcePassword(
      desk,
      { event: "added", user: name },
      `user ${name} added`,
      generated ? password : undefined,
    );
  },
});

const passwd = defineCommand({
  meta: { name: "passwd", description: "give a user another password; its sessions end" },
  args: {
    ...NAME,
    ...PASSWORD,
    "keep-sessions": { type: "boolean", description: "do not end its sessions" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const desk = new Desk<"name" | keyof typeof PASSWORD | "keep-sessions">(args);
    const name = desk.name(desk.flags.text("name"));
    expectUser(desk, name);
    const { password, generated } = await newPassword(desk, name);
    const hash = await new PasswordHasher().hash(password, "local");
    const keep = desk.flags.has("keep-sessions");
    await desk.store.change((draft) => setPassword(draft, name, hash, keep, new Date()));
    const sentence = `user ${name} has a new password${keep ? "" : ", and its sessions have ended"}`;
    announcePassword(
      desk,
      { event: "password-changed", user: name },
      sentence,
      generated ? password : undefined,
    );
  },
});

/** Fails now for an unknown user, rather than after a password was typed twice. */
function expectUser(desk: Desk<string>, name: string): void {
  const { users } = desk.store.document;
  if (!users.has(name)) {
    throw new AccountError("unknown", `there is no user ${name}`, {
      hint: `to create it: parley users add ${name}`,
    });
  }
}

async function newPassword(
  desk: Desk<keyof typeof PASSWORD>,
  name: string,
): Promise<{ password: string; generated: boolean }> {
  const { flags, terminal } = desk;
  const minimum = flags.count("min-password", 8, 256) ?? MIN_PASSWORD_LENGTH;
  const flaw = (password: string) => passwordFlaw(password, name, minimum);
  // 120 bits, in letters and digits that survive being copied.
  if (flags.has("generate")) return { password: randomBytes(15).toString("base64url"), generated: true };
  const given = await terminal.secret(secretFlags(flags));
  if (given === undefined && !terminal.canAsk) {
    throw usageError(
      "a password is needed",
      "give it with --password-file FILE or --password-stdin, or --generate one",
    );
  }
  if (given === undefined)
    return { password: await terminal.askNewSecret("password:", flaw), generated: false };
  const wrong = flaw(given);
  if (wrong !== undefined) throw new ParleyError("failed", wrong);
  return { password: given, generated: false };
}

function announcePassword(
  desk: Desk<string>,
  event: object,
  sentence: string,
  password: string | undefined,
): void {
  if (password === undefined) return desk.done({ ...event }, sentence);
  if (desk.flags.has("json")) return desk.done({ ...event, password }, sentence);
  desk.terminal.say(sentence);
  process.stdout.write(`${password}\n`);
}

const remove = defineCommand({
  meta: { name: "remove", description: "remove a user and end its sessions" },
  args: {
    ...NAME,
    "if-exists": { type: "boolean", description: "an unknown user is no error" },
    ...YES,
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const desk = new Desk<"name" | "if-exists" | "yes">(args);
    const name = desk.name(desk.flags.text("name"));
    const ifExists = desk.flags.has("if-exists");
    const known = desk.store.document.users.has(name);
    if (known && !desk.flags.has("yes") && desk.terminal.canAsk) {
      if (!(await desk.terminal.confirm(`remove ${name} for good?`, false))) return;
    }
    const removed = await desk.store.change((draft) => {
      if (ifExists && !draft.users.has(name)) return false;
      removeUser(draft, name);
      return true;
    });
    if (removed) desk.done({ event: "removed", user: name }, `user ${name} removed`);
    else desk.done({ event: "missing", user: name }, `there is no user ${name}`);
  },
});

const disable = defineCommand({
  meta: { name: "disable", description: "keep a user out and end its conversations" },
  args: {
    ...NAME,
    reason: { type: "string", valueHint: "TEXT", description: "what the user is told" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const desk = new Desk<"name" | "reason">(args);
    const name = desk.name(desk.flags.text("name"));
    await desk.store.change((draft) => disableUser(draft, name, desk.flags.text("reason"), new Date()));
    desk.done({ event: "disabled", user: name }, `user ${name} disabled`);
  },
});

const enable = defineCommand({
  meta: { name: "enable", description: "let a disabled user in again" },
  args: { ...NAME, ...usersFlags },
  async run({ args }) {
    const desk = new Desk<"name">(args);
    const name = desk.name(desk.flags.text("name"));
    await desk.store.change((draft) => enableUser(draft, name));
    desk.done({ event: "enabled", user: name }, `user ${name} enabled`);
  },
});

const list = defineCommand({
  meta: { name: "list", description: "list the users" },
  args: usersFlags,
  run({ args }) {
    const desk = new Desk<never>(args);
    const { users, tokens } = desk.store.document;
    const now = Date.now();
    const sessions = new Map<string, number>();
    for (const token of tokens.values()) {
      if (isAlive(token, now)) sessions.set(token.user, (sessions.get(token.user) ?? 0) + 1);
    }
    const rows = [...users].map(([user, { created, last_login, disabled }]) => ({
      user,
      created,
      last_login: last_login ?? null,
      sessions: sessions.get(user) ?? 0,
      disabled: disabled === null ? null : (disabled.reason ?? disabled.since),
    }));
    desk.table(rows, "there are no users: parley users add NAME");
  },
});

const sessions = defineCommand({
  meta: { name: "sessions", description: "list session tokens" },
  args: {
    name: { type: "positional", required: false, valueHint: "NAME", description: "of this user only" },
    ...usersFlags,
  } satisfies FlagsDef,
  run({ args }) {
    const desk = new Desk<"name">(args);
    const given = desk.flags.text("name");
    const name = given === undefined ? undefined : desk.name(given);
    if (name !== undefined) expectUser(desk, name);
    const now = Date.now();
    const rows = [...desk.store.document.tokens]
      .filter(([, token]) => isAlive(token, now) && (name === undefined || token.user === name))
      .map(([id, token]) => ({
        id,
        user: token.user,
        created: token.created,
        used: token.used,
        until: new Date(aliveUntil(token)).toISOString(),
        from: token.peer ?? null,
      }));
    desk.table(rows, "there are no sessions");
  },
});

const revoke = defineCommand({
  meta: { name: "revoke", description: "end session tokens, and their conversations" },
  args: {
    id: {
      type: "positional",
      required: false,
      valueHint: "ID",
      description: "the token, as `users sessions` lists it",
    },
    user: { type: "string", valueHint: "NAME", description: "every one of this user" },
    all: { type: "boolean", description: "every one there is" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const desk = new Desk<"id" | "user" | "all">(args);
    const id = desk.flags.text("id");
    const given = desk.flags.text("user");
    const all = desk.flags.has("all");
    if ([id !== undefined, given !== undefined, all].filter(Boolean).length !== 1) {
      throw usageError("say which: ID, --user NAME or --all");
    }
    const name = given === undefined ? undefined : desk.name(given);
    const count = await desk.store.change((draft) => {
      if (id !== undefined && !draft.tokens.has(id)) {
        throw new AccountError("unknown", `there is no session ${id}`, {
          hint: "see them: parley users sessions",
        });
      }
      if (name !== undefined && !draft.users.has(name))
        throw new AccountError("unknown", `there is no user ${name}`);
      return revokeTokens(draft, (token, key) => all || key === id || token.user === name);
    });
    desk.done({ event: "revoked", count }, count === 1 ? "1 session revoked" : `${count} sessions revoked`);
  },
});

const listHosts = defineCommand({
  meta: { name: "list", description: "list the known addresses" },
  args: usersFlags,
  run({ args }) {
    const desk = new Desk<never>(args);
    const rows = [...desk.store.document.hosts].map(([address, { name, first, last }]) => ({
      address,
      name,
      first,
      last,
    }));
    desk.table(rows, "no address is known");
  },
});

const forget = defineCommand({
  meta: { name: "forget", description: "forget an address: it will be asked for its name again" },
  args: {
    address: { type: "positional", valueHint: "ADDRESS", description: "as `users hosts` lists it" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const desk = new Desk<"address">(args);
    const address = desk.flags.text("address") ?? "";
    await desk.store.change((draft) => forgetHost(draft, address));
    desk.done({ event: "forgotten", address }, `${address} forgotten`);
  },
});

const hosts = defineCommand({
  meta: { name: "hosts", description: "the known addresses of --auth ip" },
  default: "list",
  subCommands: { list: listHosts, forget },
});

const exportUsers = defineCommand({
  meta: { name: "export", description: "print every user with its hash, one JSON object a line" },
  args: usersFlags,
  run({ args }) {
    const desk = new Desk<never>(args);
    for (const [name, user] of desk.store.document.users) {
      process.stdout.write(`${JSON.stringify({ name, ...user })}\n`);
    }
  },
});

const importUsers = defineCommand({
  meta: { name: "import", description: "add the users that `export` printed" },
  args: {
    file: { type: "positional", valueHint: "FILE", description: "where they are; - is standard input" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const desk = new Desk<"file">(args);
    const path = desk.flags.text("file") ?? "-";
    const text = path === "-" ? await Bun.stdin.text() : readImport(path);
    const users = text
      .split("\n")
      .flatMap((line, index) => (line.trim() === "" ? [] : [parseImport(line, index + 1)]));
    await desk.store.change((draft) => {
      const taken = users.find(({ name }) => draft.users.has(name));
      if (taken !== undefined)
        throw new AccountError("exists", `user ${taken.name} already exists: nothing was imported`);
      for (const { name, user } of users) draft.users.set(name, user);
    });
    desk.done({ event: "imported", count: users.length }, `${users.length} users imported`);
  },
});

function readImport(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw usageError(`cannot read ${path}: ${systemCode(error) ?? messageOf(error)}`);
  }
}

function parseImport(line: string, number: number): { name: string; user: User } {
  const wrong = (what: string) => new ParleyError("failed", `line ${number}: ${what}: nothing was imported`);
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw wrong(messageOf(error));
  }
  const { name: given, ...rest } =
    typeof json === "object" && json !== null ? { name: "", ...json } : { name: "" };
  const name = typeof given === "string" ? normalizeName(given) : undefined;
  if (name === undefined) throw wrong("it has no user name");
  const user = parseUser(rest, new Date());
  if (user === undefined || hashCost(user.password) === undefined)
    throw wrong(`user ${name} has no argon2id hash`);
  return { name, user };
}

export default defineCommand({
  meta: { name: "users", description: "accounts, sessions and known addresses" },
  subCommands: {
    add,
    passwd,
    remove,
    disable,
    enable,
    list,
    sessions,
    revoke,
    hosts,
    export: exportUsers,
    import: importUsers,
  },
});
