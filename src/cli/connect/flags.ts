// The flags of parley connect, and the target and channel that they ask for.

import { formatServer, isLoopback } from "../../base/address.ts";
import type { Trust } from "../../client/options.ts";
import type { ClientState } from "../../client/client-state.ts";
import { usageError } from "../../base/errors.ts";
import { DEFAULT_PORT, MAX_ANSWER_BYTES, MAX_FRAME_CEILING_BYTES } from "../../base/limits.ts";
import { size } from "../../base/option-kinds.ts";
import { isPin, type TlsDemand } from "../../net/tls.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { readAuthorities } from "../../net/tls-identity.ts";
import { checkZone, hostFlaw, parseHost, parsePort, portFlaw, type Flags } from "../flags.ts";
import { commonFlags, type FlagsDef } from "../parse.ts";
import { KnownServers } from "./known-servers.ts";

/** The arguments of `parley connect`. */
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
  wait: {
    type: "string",
    valueHint: "TIME",
    description: "wait for a server that is not up yet, or turns you away for a while",
  },
  retry: {
    type: "string",
    valueHint: "N|forever",
    description: "come back after a loss, in N tries (for two minutes on a terminal, not at all in a pipe)",
  },
  listen: {
    type: "string",
    valueHint: "[ADDRESS:]PORT",
    description: "forward local connections to a server with --to; unix:/path works too",
  },
  open: { type: "boolean", description: "--listen beyond this machine, too" },
  "port-file": {
    type: "string",
    valueHint: "FILE",
    description: "write the port of --listen there when ready",
  },
  "max-frame": { type: "string", valueHint: "SIZE", description: "longest message that is accepted" },
  resend: {
    type: "boolean",
    description: "after a loss of the session too: send again what was not confirmed",
  },
  raw: { type: "boolean", description: "bytes both ways, unchanged" },
  null: { type: "boolean", alias: "0", description: "messages end with NUL instead of newline, both ways" },
  json: { type: "boolean", description: "one JSON object an event" },
  trace: { type: "boolean", description: "show every frame on standard error" },
  check: { type: "boolean", description: "show each step to a first answer, with its time, and leave" },
  bench: { type: "boolean", description: "measure messages a second and how long answers take, and leave" },
  "no-token": { type: "boolean", description: "neither use nor keep a session token" },
  logout: { type: "boolean", description: "end the stored session token" },
  sessions: { type: "boolean", description: "list the stored session tokens" },
  "exit-status": { type: "boolean", description: "end with the exit status of the program there" },
  bare: { type: "boolean", description: "frames only: no login, no session" },
  "key-file": { type: "string", valueHint: "FILE", description: "shared key that both sides must prove" },
  "allow-md5": { type: "boolean", description: "shared key also with Python 3.11 and older" },
  tls: { type: "boolean", description: "encrypt; by itself unless the server is on this machine" },
  "no-tls": { type: "boolean", description: "connect in plain text, also to another machine" },
  pin: { type: "string", valueHint: "sha256/…", description: "the server's key, as it prints it" },
  "accept-new": {
    type: "boolean",
    description: "encrypt, and believe a server that is not known yet",
  },
  forget: { type: "boolean", description: "forget the key by which the server is known" },
  "tls-ca": {
    type: "string",
    valueHint: "FILE",
    description: "believe who this authority vouches for (PEM)",
  },
  ...commonFlags,
} satisfies FlagsDef;

export type ConnectFlags = Flags<keyof typeof connectFlags>;

/** @throws {ParleyError} `usage` when a flag stands beside `--forget` that has no meaning there. */
export function checkForget(flags: ConnectFlags): void {
  const names = Object.keys(connectFlags) as (keyof typeof connectFlags)[];
  const other = names.find(
    (name) =>
      flags.isGiven(name) && !["target", "forget"].includes(name) && !Object.hasOwn(commonFlags, name),
  );
  if (other !== undefined) throw usageError(`--forget and --${other} exclude each other`);
}

/** `--max-frame` in bytes. @throws {ParleyError} `usage`. */
export function readMaxFrame(flags: ConnectFlags): number {
  return flags.read("max-frame", size(1, MAX_FRAME_CEILING_BYTES)) ?? MAX_ANSWER_BYTES;
}

/** The server, and the user to log in as. */
export interface Target {
  host: string;
  port: number;
  user: string | undefined;
  /** `host:port` as {@link formatServer} spells it, the name under which tokens and keys are stored. */
  server: string;
}

/** The target of the arguments; a person at a terminal is asked for what is missing. @throws {ParleyError} `usage`. */
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
  checkZone(host);
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
  return { host, port, user, server: formatServer(host, port) };
}

async function askPort(terminal: Terminal, last: number | undefined): Promise<number> {
  const answer = await terminal.ask("port:", { default: String(last ?? DEFAULT_PORT), check: portFlaw });
  return parsePort(answer) ?? DEFAULT_PORT;
}

/** TLS to a server, and how its key is trusted. */
export interface ChannelPlan {
  tls: TlsDemand;
  /** The stored pins; undefined where the authority of `--tls-ca` alone decides. */
  trust: Trust | undefined;
}

/** The channel that the flags ask for; undefined: plain text. @throws {ParleyError} `usage`, or `failed` for a file. */
export function planChannel(
  flags: ConnectFlags,
  target: Target,
  state: ClientState,
  terminal: Terminal,
): ChannelPlan | undefined {
  const demands = (["tls", "pin", "accept-new", "tls-ca"] as const).filter((name) => flags.isGiven(name));
  if (flags.has("no-tls")) {
    if (demands[0] !== undefined) throw usageError(`--no-tls and --${demands[0]} exclude each other`);
    return undefined;
  }
  const pin = flags.text("pin");
  if (pin !== undefined && !isPin(pin)) {
    throw usageError(
      `--pin: ${JSON.stringify(pin)} is no pin`,
      "sha256/ and 44 characters, as the server prints it",
    );
  }
  const authority = flags.text("tls-ca");
  const isOfMemory = demands.length === 0 && isLoopback(target.host);
  const known = isOfMemory ? state.findServer(target.server) : undefined;
  if (isOfMemory && known === undefined) return undefined;
  const trust = new KnownServers(target.server, state, terminal, { pin, acceptNew: flags.has("accept-new") });
  if (authority === undefined)
    return { tls: { authorities: undefined, knownSince: known?.since.slice(0, 10) }, trust };
  return { tls: { authorities: readAuthorities(authority) }, trust: pin === undefined ? undefined : trust };
}
