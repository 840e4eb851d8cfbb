// parley users sessions, revoke, hosts.

import { defineCommand } from "citty";
import {
  AccountError,
  aliveUntil,
  forgetHost,
  isAlive,
  nameHost,
  revokeTokens,
  revokeTokensOf,
} from "../../auth/accounts.ts";
import type { SessionStatus } from "../../auth/session-status.ts";
import { displayName, NAME_RULE, normalizeName } from "../../auth/username.ts";
import { isAddress, peerNotation } from "../../base/address.ts";
import { ownCommand } from "../../base/own-command.ts";
import { usageError } from "../../base/errors.ts";
import { plural } from "../../base/plural.ts";
import { about, inGroup, type FlagsDef } from "../parse.ts";
import { UsersContext, expectUser, usersFlags } from "./context.ts";

export const sessions = defineCommand({
  meta: about({
    name: "sessions",
    description: "list session tokens and connected sessions",
    examples: [
      ["parley users sessions", "of all users"],
      ["parley users sessions ann", "of one user"],
    ],
  }),
  args: {
    name: {
      type: "positional",
      required: false,
      valueHint: "NAME",
      completes: "user",
      description: "only sessions of this user",
    },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"name">(args);
    const given = context.flags.text("name");
    const name = given === undefined ? undefined : context.name(given);
    const isWanted = (user: string | null) => name === undefined || normalizeName(user ?? "") === name;
    const store = await context.openStore();
    const { sessions: all, failures } = await context.sessionStatuses();
    for (const { message } of failures) context.terminal.say(`the list may be incomplete: ${message}`);
    const live = all.filter(({ user }) => isWanted(user));
    // A user of `--auth ip` has no entry, only conversations.
    if (name !== undefined && live.length === 0) expectUser(store, name);
    const now = Date.now();
    // A dead token may still be in a conversation, which ends when the token is revoked.
    const inUse = new Set(live.map(({ token }) => token));
    const tokens = context
      .inOrder(store.document.tokens)
      .filter(([id, token]) => (isAlive(token, now) || inUse.has(id)) && isWanted(token.user));
    const listed = new Set(tokens.map(([id]) => id));
    const rows = [
      ...tokens.map(([id, token]) => ({
        id,
        user: token.user,
        created: token.created,
        used: token.used,
        until: new Date(aliveUntil(token)).toISOString(),
        from: token.peer ?? null,
        ...stateOf(live.filter((one) => one.token === id)),
      })),
      ...live
        .filter(({ token }) => token === null || !listed.has(token))
        .map((one) => ({
          id: null,
          user: one.user,
          created: null,
          used: null,
          until: null,
          from: one.peer,
          ...stateOf([one]),
        })),
    ];
    await context.printTable(rows, "no sessions");
  },
});

/** How many conversations are attached, since when the first one goes on, and since when one of them is detached. */
function stateOf(own: readonly SessionStatus[]) {
  const [since] = own.map((one) => one.since).toSorted((a, b) => a - b);
  const detached = own.flatMap(({ detached_since }) => detached_since ?? []);
  const instant = (at: number | undefined) => (at === undefined ? null : new Date(at).toISOString());
  return { live: own.length - detached.length, since: instant(since), detached_since: instant(detached[0]) };
}

export const revoke = defineCommand({
  meta: about({
    name: "revoke",
    description: "end session tokens and the sessions that use them",
    examples: [
      ["parley users revoke ID", "an ID from parley users sessions"],
      ["parley users revoke --user ann", "all of one user"],
    ],
  }),
  args: {
    id: {
      type: "positional",
      required: false,
      valueHint: "ID",
      completes: "token",
      description: "token, as parley users sessions lists it",
    },
    ...inGroup("Options", {
      user: { type: "string", valueHint: "NAME", completes: "user", description: "all tokens of this user" },
      all: { type: "boolean", description: "all tokens of all users" },
    }),
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"id" | "user" | "all">(args);
    const id = context.flags.text("id");
    const given = context.flags.text("user");
    const all = context.flags.has("all");
    if ([id !== undefined, given !== undefined, all].filter(Boolean).length !== 1) {
      throw usageError("revoke requires one of ID, --user NAME and --all");
    }
    const name = given === undefined ? undefined : context.name(given);
    const store = await context.openStore();
    const count = await store.change((draft) => {
      if (id !== undefined && !draft.tokens.has(id)) {
        throw new AccountError("unknown", `there is no session token ${id}`, {
          hint: `list the tokens with: ${ownCommand("users sessions")}`,
        });
      }
      if (name !== undefined && !draft.users.has(name))
        throw new AccountError("unknown", `there is no user ${name}`);
      if (name !== undefined) return revokeTokensOf(draft, name);
      return id === undefined ? revokeTokens(draft, () => true) : Number(draft.tokens.delete(id));
    });
    context.printResult({ event: "revoked", count }, `${plural(count, "session")} revoked`);
  },
});

const listHosts = defineCommand({
  meta: about({
    name: "list",
    description: "list the known addresses",
    examples: [["parley users hosts list", "parley users hosts does the same"]],
  }),
  args: usersFlags,
  async run({ args }) {
    await using context = new UsersContext<never>(args);
    const { document } = await context.openStore();
    const rows = context.inOrder(document.hosts).map(([address, { name, first, last, named_by }]) => ({
      address,
      name,
      first,
      last,
      named_by: named_by ?? "client",
    }));
    await context.printTable(rows, "no known addresses");
  },
});

const forget = defineCommand({
  meta: about({
    name: "forget",
    description: "forget an address, so that its next client is asked for a name",
    examples: [["parley users hosts forget 192.0.2.7", "its name is free again"]],
  }),
  args: {
    address: {
      type: "positional",
      valueHint: "ADDRESS",
      completes: "address",
      description: "address, as parley users hosts lists it",
    },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"address">(args);
    const address = context.flags.text("address") ?? "";
    const store = await context.openStore();
    await store.change((draft) => forgetHost(draft, address));
    context.printResult({ event: "forgotten", address }, `${address} forgotten`);
  },
});

const nameAddress = defineCommand({
  meta: about({
    name: "name",
    description: "name an address, and keep the name when the table of addresses is full",
    examples: [["parley users hosts name 192.0.2.7 ann", "its clients are called ann"]],
  }),
  args: {
    address: {
      type: "positional",
      valueHint: "ADDRESS",
      completes: "address",
      description: "address, for example 192.0.2.7",
    },
    name: { type: "positional", valueHint: "NAME", description: "name of the client there" },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"address" | "name">(args, { makes: true });
    const given = context.flags.text("address") ?? "";
    const address = isAddress(given) ? peerNotation(given) : undefined;
    if (address === undefined)
      throw usageError(`invalid address ${JSON.stringify(given)}`, "write it as 192.0.2.7 or 2001:db8::7");
    const wanted = context.flags.text("name") ?? "";
    const name = displayName(wanted);
    if (name === undefined) throw usageError(`invalid name ${JSON.stringify(wanted)}`, NAME_RULE);
    const store = await context.openStore();
    await store.change((draft) => nameHost(draft, address, name, new Date()));
    context.printResult({ event: "named", address, name }, `${address} is now called ${name}`);
  },
});

export const hosts = defineCommand({
  meta: about({
    name: "hosts",
    description: "list, name or forget the known addresses of serve --auth ip",
    examples: [
      ["parley users hosts", "list them"],
      ["parley users hosts name 192.0.2.7 ann", "name one"],
      ["parley users hosts forget 192.0.2.7", "forget one"],
    ],
  }),
  default: "list",
  subCommands: { list: listHosts, name: nameAddress, forget },
});
