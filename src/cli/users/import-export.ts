// parley users export, import: users with their hashes, one JSON object a line; with --all everything that the store holds.

import { defineCommand } from "citty";
import { AccountError } from "../../auth/accounts.ts";
import { importArchive, type Existing } from "../../auth/archive-import.ts";
import { formatArchive, isArchiveLine, parseArchive, type Entry } from "../../auth/archive.ts";
import { exportedUser, jsonFlaw, parseUser, type Document, type User } from "../../auth/document.ts";
import { flawLines, Flaws, userFlaw } from "../../auth/flaws.ts";
import { NAME_RULE, normalizeName } from "../../auth/username.ts";
import { ownCommand } from "../../base/own-command.ts";
import { ParleyError } from "../../base/errors.ts";
import { escapeJson } from "../../base/escape.ts";
import { givenLines, readGivenBytes } from "../../files/given-text.ts";
import { plural } from "../../base/plural.ts";
import { readWholeInput, stdout } from "../../terminal/stdio.ts";
import { about, inGroup, type FlagsDef } from "../parse.ts";
import { UsersContext, usersFlags } from "./context.ts";

export const exportUsers = defineCommand({
  meta: about({
    name: "export",
    description: "print the users with their password hashes, one JSON object per line",
    examples: [
      ["parley users export > users.ndjson", "keep this file private"],
      ["parley users export --all > all.ndjson", "to move or to keep everything"],
    ],
  }),
  args: {
    ...inGroup("Options", {
      all: { type: "boolean", description: "ids, tokens and known addresses, too" },
    }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"all">(args);
    const { document } = await context.openStore();
    if (context.flags.has("all")) return exportAll(context, document);
    for (const [name, user] of context.inOrder(document.users)) {
      await stdout.write(`${escapeJson({ name, ...exportedUser(user) })}\n`);
    }
  },
});

async function exportAll({ terminal }: UsersContext<"all">, document: Readonly<Document>): Promise<void> {
  const left = Object.keys(document.rest);
  if (left.length > 0) terminal.say(`not exported, since this parley does not know it: ${left.join(", ")}`);
  for (const lines of formatArchive(document)) await stdout.write(lines);
}

export const importUsers = defineCommand({
  meta: about({
    name: "import",
    description: "add users from an export: all of them or none",
    examples: [
      ["parley users import users.ndjson", "from parley users export"],
      ["parley users import - < users.ndjson", "from standard input"],
      ["parley users import --all all.ndjson", "from parley users export --all"],
    ],
    rules: { apart: { "skip-existing": ["replace"] } },
  }),
  args: {
    file: { type: "positional", valueHint: "FILE", description: "exported users; - reads standard input" },
    ...inGroup("Options", {
      all: { type: "boolean", description: "import what export --all has printed" },
      "skip-existing": { type: "boolean", description: "skip users that exist" },
      replace: { type: "boolean", description: "replace users that exist, end their sessions" },
    }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<ImportFlag>(args, { makes: true });
    const { flags } = context;
    const existing = flags.has("skip-existing") ? "skip" : flags.has("replace") ? "replace" : "refuse";
    const path = flags.text("file") ?? "-";
    const lines =
      path === "-"
        ? givenLines(await readWholeInput(), "standard input")
        : givenLines(readGivenBytes(path, "import"), path);
    await (flags.has("all") ? importAll : importSome)(context, lines, existing);
  },
});

type ImportFlag = "file" | "all" | "skip-existing" | "replace";

async function importSome(
  context: UsersContext<ImportFlag>,
  lines: Iterable<string>,
  existing: Existing,
): Promise<void> {
  let number = 0;
  const names = new Set<string>();
  const entries: Entry[] = [];
  for (const line of lines) {
    number++;
    if (line.trim() === "") continue;
    const { name, user } = parseImport(line, number);
    if (names.has(name)) throw new AccountError("exists", `user ${name} occurs twice: nothing was imported`);
    names.add(name);
    entries.push({ kind: "users", key: name, record: user, line: number });
  }
  const store = await context.openStore();
  const tally = await importArchive(store, { server: undefined, entries, users: new Map() }, existing);
  const { users: count, skipped, replaced } = tally;
  context.printResult(
    { event: "imported", count, skipped, replaced },
    `imported ${plural(count, "user")}, skipped ${skipped}, replaced ${replaced}`,
  );
}

async function importAll(
  context: UsersContext<ImportFlag>,
  lines: Iterable<string>,
  existing: Existing,
): Promise<void> {
  const archive = parseArchive(lines);
  const store = await context.openStore();
  const tally = await importArchive(store, archive, existing);
  const { users, tokens, hosts, skipped, replaced } = tally;
  const counts = [plural(users, "user"), plural(tokens, "token"), plural(hosts, "host")].join(", ");
  context.printResult(
    { event: "imported", ...tally },
    `imported ${counts}, skipped ${skipped}, replaced ${replaced}`,
  );
  const flaws = new Flaws("password").news(store.document);
  context.terminal.say(...flawLines(flaws.filter(({ user = "" }) => archive.users.has(user))));
}

function parseImport(line: string, number: number): { name: string; user: User } {
  const wrong = (what: string, hint?: string) =>
    new ParleyError("failed", `line ${number}: ${what}: nothing was imported`, { hint });
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw wrong(jsonFlaw(error));
  }
  if (typeof json === "object" && json !== null && isArchiveLine(json))
    throw wrong("it is of an export of everything", "import it with --all");
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
