// parley users export, import: users with their hashes, one JSON object a line.

import { defineCommand } from "citty";
import { AccountError, putUser } from "../../auth/accounts.ts";
import { exportedUser, jsonFlaw, parseUser, type User } from "../../auth/document.ts";
import { userFlaw } from "../../auth/flaws.ts";
import { NAME_RULE, normalizeName } from "../../auth/username.ts";
import { ParleyError } from "../../base/errors.ts";
import { escapeJson } from "../../base/escape.ts";
import { decodeGiven, readGivenFile } from "../../files/given-text.ts";
import { plural } from "../../base/plural.ts";
import { readWholeInput, stdout } from "../../terminal/stdio.ts";
import type { FlagsDef } from "../parse.ts";
import { UsersContext, usersFlags } from "./context.ts";

export const exportUsers = defineCommand({
  meta: { name: "export", description: "print every user with its hash, one JSON object a line" },
  args: usersFlags,
  async run({ args }) {
    const context = new UsersContext<never>(args);
    for (const [name, user] of context.store.document.users) {
      await stdout.write(`${escapeJson({ name, ...exportedUser(user) })}\n`);
    }
  },
});

export const importUsers = defineCommand({
  meta: { name: "import", description: "add the users that `export` printed" },
  args: {
    file: { type: "positional", valueHint: "FILE", description: "where they are; - is standard input" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const context = new UsersContext<"file">(args, { makes: true });
    const path = context.flags.text("file") ?? "-";
    const text =
      path === "-" ? decodeGiven(await readWholeInput(), "standard input") : readGivenFile(path, "import");
    const users = text
      .split("\n")
      .flatMap((line, index) => (line.trim() === "" ? [] : [parseImport(line, index + 1)]));
    const names = new Set<string>();
    for (const { name } of users) {
      if (names.has(name))
        throw new AccountError("exists", `user ${name} is there twice: nothing was imported`);
      names.add(name);
    }
    await context.store.change((draft) => {
      const taken = users.find(({ name }) => draft.users.has(name));
      if (taken !== undefined)
        throw new AccountError("exists", `user ${taken.name} already exists: nothing was imported`);
      for (const { name, user } of users) putUser(draft, name, user);
    });
    context.printResult(
      { event: "imported", count: users.length },
      `${plural(users.length, "user")} imported`,
    );
  },
});

function parseImport(line: string, number: number): { name: string; user: User } {
  const wrong = (what: string, hint?: string) =>
    new ParleyError("failed", `line ${number}: ${what}: nothing was imported`, { hint });
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw wrong(jsonFlaw(error));
  }
  if (typeof json !== "object" || json === null || !("name" in json)) throw wrong("it has no user name");
  const { name: given, ...rest } = json;
  const name = typeof given === "string" ? normalizeName(given) : undefined;
  if (name === undefined) throw wrong(`${JSON.stringify(given)} is no user name`, NAME_RULE);
  const user = parseUser(rest, new Date());
  if (typeof user === "string") throw wrong(`user ${name}: ${user}`);
  const flaw = userFlaw(name, user);
  if (flaw === undefined) return { name, user };
  throw wrong(
    flaw.message,
    `leave ${name} out, and add ${name} with a new password: parley users add ${name}`,
  );
}
