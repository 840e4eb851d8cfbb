// The flags of parley connect, and where they say it should go.

import { usageError } from "../errors.ts";
import { DEFAULT_PORT } from "../limits.ts";
import { formatAddress } from "../net/connection.ts";
import type { ClientState } from "../client-state.ts";
import type { Terminal } from "../terminal.ts";
import { hostFlaw, parseHost, parsePort, portFlaw, type Flags } from "./flags.ts";
import { commonFlags, type FlagsDef } from "./parse.ts";

/** Flags of `parley connect`, beside its target. */
export const connectFlags = {
  target: { type: "positional", required: false, valueHint: "[USER@]HOST[:PORT]", description: "where to" },
  user: { type: "string", valueHint: "NAME", description: "who you are" },
  "password-file": {
    type: "string",
    valueHint: "FILE",
    description: "read the password from a file; $PARLEY_PASSWORD works too",
  },
  "password-stdin": { type: "boolean", description: "read the password from standard input" },
  register: { type: "boolean", description: "create the account" },
  send: {
    type: "string",
    multiple: true,
    valueHint: "TEXT",
    description: "send this instead of standard input; repeatable",
  },
  count: { type: "string", valueHint: "N", description: "leave after N answers" },
  timeout: { type: "string", valueHint: "TIME", description: "give up when nothing is received for so long" },
  wait: { type: "string", valueHint: "TIME", description: "wait for a server that is not up yet" },
  raw: { type: "boolean", description: "bytes both ways, unchanged" },
  null: { type: "boolean", alias: "0", description: "messages end with NUL instead of newline, both ways" },
  json: { type: "boolean", description: "one JSON object an event" },
  trace: { type: "boolean", description: "show every frame on standard error" },
  "no-token": { type: "boolean", description: "neither use nor keep a session token" },
  logout: { type: "boolean", description: "end the stored session token" },
  sessions: { type: "boolean", description: "list the stored session tokens" },
  bare: { type: "boolean", description: "frames only: no login, no session" },
  "no-tls": { type: "boolean", description: "connect in plain text, also to another machine" },
  ...commonFlags,
} satisfies FlagsDef;

export type ConnectFlags = Flags<keyof typeof connectFlags>;

/** Where to. */
export interface Target {
  host: string;
  port: number;
  user: string | undefined;
  /** `host:port`, as tokens are kept by. */
  server: string;
}

/** The target as given, or asked for where it may be. @throws {ParleyError} `usage`. */
export async function findTarget(
  flags: ConnectFlags,
  state: ClientState,
  terminal: Terminal,
): Promise<Target> {
  const given = flags.text("target");
  const last = state.last();
  if (given === undefined) {
    if (!terminal.canAsk)
      throw usageError(
        "parley connect needs [USER@]HOST[:PORT]",
        "for example: parley connect 127.0.0.1:13131",
      );
    const host =
      parseHost(await terminal.ask("host:", { default: last.host ?? "127.0.0.1", check: hostFlaw })) ?? "";
    return targetOf(host, await askPort(terminal, last.port), flags.text("user"));
  }
  const [, user, hostText, portText] =
    /^(?:([^@]*)@)?(\[[^\]]*\]|[^:]*|[^[]*:[^[]*:[^[]*)(?::(\d*))?$/.exec(given) ?? [];
  if (/^\d+$/.test(given)) throw usageError(`${given} is no host`, `if it is a port: 127.0.0.1:${given}`);
  const host = parseHost(hostText ?? "");
  if (host === undefined)
    throw usageError(`${JSON.stringify(given)} is no [USER@]HOST[:PORT]`, "for example: ann@127.0.0.1:13131");
  if (user !== undefined && flags.text("user") !== undefined) throw usageError("the user is given twice");
  const who = user ?? flags.text("user");
  if (portText === undefined) {
    return targetOf(host, terminal.canAsk ? await askPort(terminal, last.port) : DEFAULT_PORT, who);
  }
  const port = parsePort(portText);
  if (port === undefined)
    throw usageError(`${JSON.stringify(portText)} is no port`, "a number from 1 to 65535");
  return targetOf(host, port, who);
}

function targetOf(host: string, port: number, user: string | undefined): Target {
  return { host, port, user, server: formatAddress(host, port) };
}

async function askPort(terminal: Terminal, last: number | undefined): Promise<number> {
  const answer = await terminal.ask("port:", { default: String(last ?? DEFAULT_PORT), check: portFlaw });
  return parsePort(answer) ?? DEFAULT_PORT;
}
