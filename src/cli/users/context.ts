// What the commands of `parley users` share: the store, the name of a user, and how a result is printed.

import { AccountError } from "../../auth/accounts.ts";
import { NAME_RULE, normalizeName } from "../../auth/username.ts";
import type { SessionStatuses } from "../../auth/session-status.ts";
import type { Store } from "../../auth/store.ts";
import { DataFolder } from "../../files/data-folder.ts";
import { ownCommand } from "../../base/own-command.ts";
import { usageError } from "../../base/errors.ts";
import { escapeJson, escapeLine } from "../../base/escape.ts";
import { plural } from "../../base/plural.ts";
import { stdout } from "../../terminal/stdio.ts";
import { Flags, terminalOf } from "../flags.ts";
import { openStore, planStore, storeFlags, type OpenStore, type StorePlan } from "../store.ts";
import { commonFlags, inGroup, type Arguments, type FlagsDef } from "../parse.ts";

export const jsonFlag = inGroup("Options", {
  json: { type: "boolean", description: "print JSON, one object per line" },
}) satisfies FlagsDef;

/** Flags of every command of `parley users` that uses the accounts. */
export const usersFlags = {
  ...jsonFlag,
  ...storeFlags,
  ...commonFlags,
} satisfies FlagsDef;

export const NAME = {
  name: { type: "positional", valueHint: "NAME", description: "user name" },
} satisfies FlagsDef;

/** The name of a user that there is. */
export const USER = {
  name: { ...NAME.name, completes: "user" },
} satisfies FlagsDef;

type Cell = string | number | null | readonly string[];

/** The flags, the terminal and the store of one command of `parley users`. */
export class UsersContext<Name extends string> implements AsyncDisposable {
  readonly flags: Flags<Name | keyof typeof usersFlags>;
  readonly terminal;
  readonly #data: DataFolder;
  readonly #makes: boolean;
  readonly #elsewhere: StorePlan | undefined;
  #opened: Promise<OpenStore> | undefined;

  /**
   * @param makes the command may make the first entry, and the folder for it; otherwise the folder must exist, unless the accounts are
   * elsewhere.
   */
  constructor(args: unknown, { makes = false } = {}) {
    this.flags = new Flags(args as Arguments);
    this.terminal = terminalOf(this.flags);
    this.#data = new DataFolder(this.flags.text("data"));
    this.#makes = makes;
    this.#elsewhere = planStore(this.flags);
  }

  /** The sessions of all servers. @throws as {@link openStore}. */
  async sessionStatuses(): Promise<SessionStatuses> {
    return (await this.#openOnce()).sessions.statuses();
  }

  /** The log that a server writes without `--log`. @throws {FileError} when the data folder does not exist. */
  get log(): string {
    return this.#data.expect().log;
  }

  /** The store of the accounts, which is opened once. */
  async openStore(): Promise<Store> {
    return (await this.#openOnce()).store;
  }

  #openOnce(): Promise<OpenStore> {
    return (this.#opened ??= this.#open());
  }

  /** The records of a table: as they stand in the file, or by key, since an engine has them in no order. */
  inOrder<V>(table: Iterable<[string, V]>): [string, V][] {
    const records = [...table];
    return this.#elsewhere === undefined ? records : records.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  async #open(): Promise<OpenStore> {
    if (this.#makes) this.#data.make();
    else if (this.#elsewhere === undefined) this.#data.expect();
    return openStore(this.#elsewhere, this.#data, {
      say: (line) => this.terminal.say(line),
      edited: (kept) => this.terminal.note(editedByHand(this.#data.users, kept)),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opened?.catch(() => undefined); // the command has thrown that
    await opened?.[Symbol.asyncDispose]();
  }

  /** `text` as a user's name. @throws {ParleyError} `usage` when it can be none. */
  name(text: string | undefined): string {
    const name = normalizeName(text ?? "");
    if (name === undefined) throw usageError(`invalid user name ${JSON.stringify(text)}`, NAME_RULE);
    return name;
  }

  /** Prints what was done: `event` with `--json`, otherwise `sentence`. */
  printResult(event: Readonly<Record<string, unknown>>, sentence: string): void {
    void stdout.write(this.flags.has("json") ? `${escapeJson(event)}\n` : `${escapeLine(sentence)}\n`);
  }

  /** Prints objects with `--json`, otherwise columns under a heading; on a terminal, `empty` where there are no rows. */
  async printTable(rows: readonly Readonly<Record<string, Cell>>[], empty: string): Promise<void> {
    if (this.flags.has("json")) {
      for (const row of rows) await stdout.write(`${escapeJson(row)}\n`);
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
      await stdout.write(`${padded.join("  ").trimEnd()}\n`);
    }
  }
}

function editedByHand(path: string, kept: number): string {
  return `${path} was edited by hand while its journal had changes: ${plural(kept, "record")} kept from the edit, other changes hold`;
}

function cell(value: Cell | undefined): string {
  if (value === null || value === undefined) return "-";
  if (Array.isArray(value)) return cell(value.length === 0 ? null : value.join(", "));
  return escapeLine(typeof value === "string" ? value.replace(/\.\d{3}Z$/, "Z") : String(value));
}

/** Checks that a user exists before a password is typed twice. @throws {AccountError} `unknown`. */
export function expectUser({ document }: Store, name: string): void {
  const { users } = document;
  if (!users.has(name)) {
    throw new AccountError("unknown", `there is no user ${name}`, {
      hint: `create the user with: ${ownCommand(`users add ${name}`)}`,
    });
  }
}
