// parley users export, import: users with their hashes, one JSON object a line.

import { defineCommand } from "citty";
import { AccountError, replaceUser } from "../../auth/accounts.ts";
import { exportedUser, jsonFlaw, parseUser, type Document, type User } from "../../auth/document.ts";
import { userFlaw } from "../../auth/flaws.ts";
import { NAME_RULE, normalizeName } from "../../auth/username.ts";
import { ownCommand } from "../../base/own-command.ts";
import { ParleyError, usageError } from "../../base/errors.ts";
import { escapeJson } from "../../base/escape.ts";
import { decodeGiven, readGivenFile } from "../../files/given-text.ts";
import { plural } from "../../base/plural.ts";
import { readWholeInput, stdout } from "../../terminal/stdio.ts";
import { about, inGroup, type FlagsDef } from "../parse.ts";
import { UsersContext, usersFlags } from "./context.ts";

export const exportUsers = defineCommand({
  meta: about({
    name: "export",
    description: "print the users with their password hashes, one JSON object per line",
    examples: [["parley users export > users.ndjson", "keep this file private"]],
  }),
  args: usersFlags,
  async run({ args }) {
    const context = new UsersContext<never>(args);
    const { document } = await context.openStore();
    for (const [name, user] of document.users) {
      await stdout.write(`${escapeJson({ name, ...exportedUser(user) })}\n`);
    }
  },
});

export const importUsers = defineCommand({
  meta: about({
    name: "import",
    description: "add users from an export: all of them or none",
    examples: [
      ["parley users import users.ndjson", "from parley users export"],
      ["parley users import - < users.ndjson", "from standard input"],
    ],
  }),
  args: {
    file: { type: "positional", valueHint: "FILE", description: "exported users; - reads standard input" },
    ...inGroup("Options", {
      "skip-existing": { type: "boolean", description: "skip users that exist" },
      replace: { type: "boolean", description: "replace users that exist, end their sessions" },
    }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const context = new UsersContext<"file" | "skip-existing" | "replace">(args, { makes: true });
    const { flags } = context;
    if (flags.has("skip-existing") && flags.has("replace"))
      throw usageError("--skip-existing and --replace cannot be used together");
    const existing = flags.has("skip-existing") ? "skip" : flags.has("replace") ? "replace" : "refuse";
    const path = flags.text("file") ?? "-";
    const text =
      path === "-" ? decodeGiven(await readWholeInput(), "standard input") : readGivenFile(path, "import");
    const users = text
      .split("\n")
      .flatMap((line, index) => (line.trim() === "" ? [] : [parseImport(line, index + 1)]));
    const names = new Set<string>();
    for (const { name } of users) {
      if (names.has(name))
        throw new AccountError("exists", `user ${name} occurs twice: nothing was imported`);
      names.add(name);
    }
    const store = await context.openStore();
    const { count, skipped, replaced } = await store.change((draft) => importInto(draft, users, existing));
    context.printResult(
      { event: "imported", count, skipped, replaced },
      `imported ${plural(count, "user")}, skipped ${skipped}, replaced ${replaced}`,
    );
  },
});

interface Imported {
  name: string;
  user: User;
}

/** Adds `users`, and does with those whose name is taken as `existing` says. @throws {AccountError} `exists`. */
function importInto(draft: Document, users: readonly Imported[], existing: "refuse" | "skip" | "replace") {
  const taken = users.filter(({ name }) => draft.users.has(name));
  if (existing === "refuse" && taken.length > 0) throw namesTaken(taken.map(({ name }) => name));
  const added = users.filter(({ name }) => !draft.users.has(name));
  for (const { name, user } of existing === "replace" ? users : added) replaceUser(draft, name, user);
  const count = added.length;
  return existing === "replace"
    ? { count, skipped: 0, replaced: taken.length }
    : { count, skipped: taken.length, replaced: 0 };
}

/** How many names are listed. */
const MAX_NAMED = 10;

function namesTaken(names: readonly string[]): AccountError {
  const [first] = names;
  const more = names.length - MAX_NAMED;
  const listed = `${names.slice(0, MAX_NAMED).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  const what =
    names.length === 1 ? `user ${first} already exists` : `${names.length} users already exist (${listed})`;
  return new AccountError("exists", `${what}: nothing was imported`, {
    hint: "keep them with --skip-existing, or replace them, which ends their sessions, with --replace",
  });
}

function parseImport(line: string, number: number): Imported {
  const wrong = (what: string, hint?: string) =>
    new ParleyError("failed", `line ${number}: ${what}: nothing was imported`, { hint });
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw wrong(jsonFlaw(error));
  }
  if (typeof json !== "object" || json === null || !("name" in json)) throw wrong("missing user name");
  const { name: given, ...rest } = json;
  const name = typeof given === "string" ? normalizeName(given) : undefined;
  if (name === undefined) throw wrong(`invalid user name ${JSON.stringify(given)}`, NAME_RULE);
  const user = parseUser(rest, new Date());
  if (typeof user === "string") throw wrong(`user ${name}: ${user}`);
  const flaw = userFlaw(name, user);
  if (flaw === undefined) return { name, user };
  throw wrong(
    flaw.message,
    `remove that line, then add the user with a new password: ${ownCommand(`users add ${name}`)}`,
  );
}
