// parley users add, passwd, remove, disable, enable, tag, list.

import { defineCommand } from "citty";
import {
  addUser,
  disableUser,
  enableUser,
  isAlive,
  removeUser,
  setPassword,
  tagUser,
  userExists,
} from "../../auth/accounts.ts";
import { normalizeTag, TAG_RULE } from "../../auth/tags.ts";
import { hashFlaw, PasswordHasher } from "../../auth/password.ts";
import { ownCommand } from "../../base/own-command.ts";
import { usageError } from "../../base/errors.ts";
import { MAX_TAGS } from "../../base/limits.ts";
import { sayStoredName } from "../flags.ts";
import { about, inGroup, type FlagsDef } from "../parse.ts";
import { UsersContext, expectUser, NAME, USER, usersFlags } from "./context.ts";
import {
  announce,
  changeWithPassword,
  newPassword,
  PASSWORD,
  passwordRules,
  printOnce,
} from "./new-password.ts";

/** The reason is one line of the message that the user gets. */
const MAX_REASON_LENGTH = 200;

export const add = defineCommand({
  meta: about({
    name: "add",
    description: "create a user",
    examples: [
      ["parley users add ann", "asks for the password"],
      ["parley users add ann --generate", "prints a new password"],
      ["parley users add ann --password-file FILE", "for scripts"],
    ],
    rules: passwordRules,
  }),
  args: {
    ...NAME,
    ...PASSWORD,
    ...inGroup("Options", {
      "if-missing": { type: "boolean", description: "do nothing if the user exists" },
    }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"name" | keyof typeof PASSWORD | "if-missing">(args, {
      makes: true,
    });
    const name = context.name(context.flags.text("name"));
    const ifMissing = context.flags.has("if-missing");
    const store = await context.openStore();
    if (store.document.users.has(name)) {
      if (!ifMissing) throw userExists(name);
      return context.printResult({ event: "exists", user: name }, `user ${name} already exists`);
    }
    const { password, generated } = await newPassword(context, name);
    const hash = await new PasswordHasher().hash(password);
    const event = { event: "added", user: name };
    const print = printOnce(context, event, password);
    const added = await changeWithPassword(context, generated, (draft) => {
      if (ifMissing && draft.users.has(name)) return false;
      addUser(draft, name, hash, new Date());
      if (generated) print();
      return true;
    });
    if (!added) return context.printResult({ event: "exists", user: name }, `user ${name} already exists`);
    announce(context, event, `user ${name} added`, generated);
    sayStoredName(context.terminal, context.flags.text("name"), name);
  },
});

export const passwd = defineCommand({
  meta: about({
    name: "passwd",
    description: "change a user's password and end the user's sessions",
    examples: [
      ["parley users passwd ann", "asks for the password"],
      ["parley users passwd ann --generate", "prints a new password"],
    ],
    rules: passwordRules,
  }),
  args: {
    ...USER,
    ...PASSWORD,
    ...inGroup("Options", { "keep-sessions": { type: "boolean", description: "do not end the sessions" } }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"name" | keyof typeof PASSWORD | "keep-sessions">(args);
    const name = context.name(context.flags.text("name"));
    expectUser(await context.openStore(), name);
    const { password, generated } = await newPassword(context, name);
    const hash = await new PasswordHasher().hash(password);
    const keep = context.flags.has("keep-sessions");
    const event = { event: "password-changed", user: name };
    const print = printOnce(context, event, password);
    await changeWithPassword(context, generated, (draft) => {
      setPassword(draft, name, hash, keep, new Date());
      if (generated) print();
    });
    const sentence = `password of ${name} changed${keep ? "" : ", sessions ended"}`;
    announce(context, event, sentence, generated);
  },
});

export const remove = defineCommand({
  meta: about({
    name: "remove",
    description: "remove a user and end the user's sessions",
    examples: [
      ["parley users remove ann", "asks first"],
      ["parley users remove ann --yes --if-exists", "for scripts"],
    ],
  }),
  args: {
    ...USER,
    ...inGroup("Options", {
      "if-exists": { type: "boolean", description: "do nothing if the user does not exist" },
      yes: { type: "boolean", description: "do not ask for confirmation" },
    }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"name" | "if-exists" | "yes">(args);
    const name = context.name(context.flags.text("name"));
    const ifExists = context.flags.has("if-exists");
    const store = await context.openStore();
    const known = store.document.users.has(name);
    if (known && !context.flags.has("yes") && context.terminal.canAsk) {
      if (!(await context.terminal.confirm(`remove user ${name}?`, false))) return;
    }
    const removed = await store.change((draft) => {
      if (ifExists && !draft.users.has(name)) return false;
      removeUser(draft, name);
      return true;
    });
    if (removed) context.printResult({ event: "removed", user: name }, `user ${name} removed`);
    else context.printResult({ event: "missing", user: name }, `there is no user ${name}`);
  },
});

export const disable = defineCommand({
  meta: about({
    name: "disable",
    description: "block a user's logins and end the user's sessions",
    examples: [
      ["parley users disable ann", "without a reason"],
      ["parley users disable ann --reason holiday", "shown to ann"],
    ],
  }),
  args: {
    ...USER,
    ...inGroup("Options", {
      reason: { type: "string", valueHint: "TEXT", description: "reason to show to the user" },
    }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"name" | "reason">(args);
    const name = context.name(context.flags.text("name"));
    const reason = context.flags.text("reason");
    if (reason !== undefined && reason.length > MAX_REASON_LENGTH) {
      throw usageError(`--reason: ${reason.length} characters exceed the limit of ${MAX_REASON_LENGTH}`);
    }
    const store = await context.openStore();
    await store.change((draft) => disableUser(draft, name, reason, new Date()));
    context.printResult({ event: "disabled", user: name }, `user ${name} disabled`);
  },
});

export const enable = defineCommand({
  meta: about({
    name: "enable",
    description: "allow a disabled user's logins again",
    examples: [["parley users enable ann", "ann can log in again"]],
  }),
  args: { ...USER, ...usersFlags },
  async run({ args }) {
    await using context = new UsersContext<"name">(args);
    const name = context.name(context.flags.text("name"));
    const store = await context.openStore();
    await store.change((draft) => enableUser(draft, name));
    context.printResult({ event: "enabled", user: name }, `user ${name} enabled`);
  },
});

export const tag = defineCommand({
  meta: about({
    name: "tag",
    description: "set a user's tags, by which a service asks for a role",
    examples: [
      ["parley users tag ann teacher staff", "instead of all earlier tags"],
      ["parley users tag ann", "removes all tags"],
    ],
  }),
  args: {
    ...USER,
    tags: {
      type: "positional",
      valueHint: "TAG",
      required: false,
      multiple: true,
      completes: "tag",
      description: `up to ${MAX_TAGS} words of at most 32 letters, digits, - and _; without any, all tags are removed`,
    },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"name" | "tags">(args);
    const name = context.name(context.flags.text("name"));
    const tags = readTags(context.flags.texts("tags"));
    const store = await context.openStore();
    await store.change((draft) => tagUser(draft, name, tags));
    const sentence =
      tags.length === 0 ? `user ${name} has no tags` : `user ${name} has the tags ${tags.join(", ")}`;
    context.printResult({ event: "tagged", user: name, tags }, sentence);
  },
});

/** Tags in order, each once. @throws {ParleyError} `usage`. */
function readTags(words: readonly string[]): string[] {
  const tags = words.map((word) => {
    const tag = normalizeTag(word);
    if (tag === undefined) throw usageError(`invalid tag ${JSON.stringify(word)}`, TAG_RULE);
    return tag;
  });
  const different = [...new Set(tags)].sort();
  if (different.length <= MAX_TAGS) return different;
  throw usageError(`${different.length} tags exceed the limit of ${MAX_TAGS}`);
}

export const list = defineCommand({
  meta: about({
    name: "list",
    description: "list the users",
    examples: [
      ["parley users list", "as a table"],
      ["parley users list --json", "one JSON object per line"],
    ],
  }),
  args: usersFlags,
  async run({ args }) {
    await using context = new UsersContext<never>(args);
    const { users, tokens } = (await context.openStore()).document;
    const now = Date.now();
    const sessions = new Map<string, number>();
    for (const token of tokens.values()) {
      if (isAlive(token, now)) sessions.set(token.user, (sessions.get(token.user) ?? 0) + 1);
    }
    const hasTags = context.flags.has("json") || [...users.values()].some(({ tags }) => tags !== undefined);
    const rows = context.inOrder(users).map(([user, { password, created, last_login, disabled, tags }]) => ({
      user,
      created,
      last_login: last_login ?? null,
      sessions: sessions.get(user) ?? 0,
      hash_flaw: hashFlaw(password) ?? null,
      disabled: disabled === null ? null : (disabled.reason ?? disabled.since),
      ...(hasTags ? { tags: tags ?? [] } : {}),
    }));
    await context.printTable(rows, `no users yet: add one with: ${ownCommand("users add NAME")}`);
  },
});
