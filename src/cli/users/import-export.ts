// parley users export, import: users with their hashes, one JSON object a line.

import { defineCommand } from "citty";
import { AccountError, putUser } from "../../auth/accounts.ts";
import { exportedUser, jsonFlaw, parseUser, type User } from "../../auth/document.ts";
import { userFlaw } from "../../auth/flaws.ts";
import { NAME_RULE, normalizeName } from "../../auth/username.ts";
import { ownCommand } from "../../base/own-command.ts";
import { ParleyError } from "../../base/errors.ts";
import { escapeJson } from "../../base/escape.ts";
import { decodeGiven, readGivenFile } from "../../files/given-text.ts";
import { plural } from "../../base/plural.ts";
import { readWholeInput, stdout } from "../../terminal/stdio.ts";
import { about, type FlagsDef } from "../parse.ts";
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
    for (const [name, user] of context.store.document.users) {
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
        throw new AccountError("exists", `user ${name} occurs twice: nothing was imported`);
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
