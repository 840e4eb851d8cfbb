// A new password for a user: typed twice, read from a file or standard input, or generated.

import { randomBytes } from "node:crypto";
import { passwordFlaw } from "../../auth/password.ts";
import { ParleyError, usageError } from "../../base/errors.ts";
import { escapeJson } from "../../base/escape.ts";
import { stdout } from "../../terminal/stdio.ts";
import { SERVER_OPTIONS } from "../../server/option-table.ts";
import { definitionOf, secretFlags } from "../flags.ts";
import { inGroup, type FlagsDef } from "../parse.ts";
import type { UsersContext } from "./context.ts";

export const PASSWORD = inGroup("Password", {
  "password-file": { type: "string", valueHint: "FILE", description: "read the password from a file" },
  "password-stdin": { type: "boolean", description: "read the password from standard input" },
  generate: { type: "boolean", description: "generate a password and print it" },
  "min-password": definitionOf(SERVER_OPTIONS.minPassword),
}) satisfies FlagsDef;

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
  if (flags.has("generate") && (secrets.stdin || secrets.file !== undefined)) {
    const other = secrets.stdin ? "--password-stdin" : "--password-file";
    throw usageError(`--generate and ${other} exclude each other`);
  }
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
 * Prints a generated password. It is called from within the change that sets it: where the password, of which there is no
 * other copy, cannot be printed, the change is not made.
 *
 * @param event what `--json` prints, with the password; otherwise standard output has the password alone.
 * @throws {ParleyError} `failed`.
 */
export function printPassword(context: UsersContext<string>, event: object, password: string): void {
  stdout.writeNow(context.flags.has("json") ? `${escapeJson({ ...event, password })}\n` : `${password}\n`);
}

/** Prints that the change was made, unless {@link printPassword} has printed it as an object. */
export function announce(
  context: UsersContext<string>,
  event: object,
  sentence: string,
  generated: boolean,
): void {
  if (!generated) context.printResult({ ...event }, sentence);
  else if (!context.flags.has("json")) context.terminal.say(sentence);
}
