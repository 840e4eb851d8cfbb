// A new password for a user: typed twice, read from a file or standard input, or generated.

import { randomBytes } from "node:crypto";
import { passwordFlaw } from "../../auth/password.ts";
import type { Mutation } from "../../auth/store.ts";
import { ParleyError, usageError } from "../../base/errors.ts";
import { escapeJson } from "../../base/escape.ts";
import { stdout } from "../../terminal/stdio.ts";
import { SERVER_OPTIONS } from "../../server/option-table.ts";
import { definitionOf, secretFlags } from "../flags.ts";
import type { FlagRules } from "../flag-rules.ts";
import { inGroup, type FlagsDef } from "../parse.ts";
import type { UsersContext } from "./context.ts";

export const PASSWORD = inGroup("Password", {
  "password-file": { type: "string", valueHint: "FILE", description: "read the password from a file" },
  "password-stdin": { type: "boolean", description: "read the password from standard input" },
  generate: { type: "boolean", description: "generate a password and print it" },
  "min-password": definitionOf(SERVER_OPTIONS.minPassword),
}) satisfies FlagsDef;

/** Which of them cannot stand together. */
export const passwordRules: FlagRules = {
  apart: {
    generate: ["password-file", "password-stdin", "min-password"],
    "password-file": ["password-stdin"],
  },
};

/** @throws {ParleyError} `usage` where no password can be had, `failed` where it is not good enough. */
export async function newPassword(
  context: UsersContext<keyof typeof PASSWORD>,
  name: string,
): Promise<{ password: string; generated: boolean }> {
  const { flags, terminal } = context;
  const minimum =
    flags.read("min-password", SERVER_OPTIONS.minPassword.kind) ?? SERVER_OPTIONS.minPassword.default;
  const flaw = (password: string) => passwordFlaw(password, name, minimum);
  const secrets = secretFlags(flags);
  // 120 bits, in characters that no shell or editor changes.
  if (flags.has("generate")) return { password: randomBytes(15).toString("base64url"), generated: true };
  const given = await terminal.secret(secrets);
  if (given === undefined && !terminal.canAsk) {
    throw usageError("missing password", "use --password-file FILE, --password-stdin or --generate");
  }
  if (given === undefined)
    return { password: await terminal.askNewSecret("password:", flaw), generated: false };
  const wrong = flaw(given);
  if (wrong !== undefined) throw new ParleyError("failed", wrong);
  return { password: given, generated: false };
}

/**
 * A function that prints a generated password, at its first call only. The change that sets the password calls it, and may run
 * several times: where the password, of which there is no other copy, cannot be printed, the change is not made.
 *
 * @param event what `--json` prints, with the password; otherwise standard output has the password alone.
 * @returns throws a ParleyError `failed`.
 */
export function printOnce(context: UsersContext<string>, event: object, password: string): () => void {
  let isPrinted = false;
  return () => {
    if (isPrinted) return;
    stdout.writeNow(context.flags.has("json") ? `${escapeJson({ ...event, password })}\n` : `${password}\n`);
    isPrinted = true;
  };
}

/**
 * Makes a change that prints a generated password. Tries to write the user file first: a password that is printed should hold.
 *
 * @throws as `Store.change`.
 */
export async function changeWithPassword<T>(
  context: UsersContext<string>,
  generated: boolean,
  change: Mutation<T>,
): Promise<T> {
  const store = await context.openStore();
  if (!generated) return store.change(change);
  await store.tryToWrite();
  let isPrinted = false;
  try {
    return await store.change((draft, inUse) => {
      const result = change(draft, inUse);
      isPrinted = true;
      return result;
    });
  } catch (error) {
    if (isPrinted) context.terminal.say("the printed password is not in use, since the change failed");
    throw error;
  }
}

/** Prints that the change was made, unless {@link printOnce} has printed it as an object. */
export function announce(
  context: UsersContext<string>,
  event: object,
  sentence: string,
  generated: boolean,
): void {
  if (!generated) context.printResult({ ...event }, sentence);
  else if (!context.flags.has("json")) context.terminal.say(sentence);
}
