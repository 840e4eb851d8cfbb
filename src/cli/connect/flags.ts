// The flags of parley connect, and the target and channel that they ask for.

import { formatServer, isLoopback } from "../../base/address.ts";
import type { Trust } from "../../client/options.ts";
import type { ClientState } from "../../client/client-state.ts";
import { ParleyError, usageError } from "../../base/errors.ts";
import { DEFAULT_PORT, MAX_ANSWER_BYTES, MAX_FRAME_CEILING_BYTES, RETRY_FOR_MS } from "../../base/limits.ts";
import { size } from "../../base/option-kinds.ts";
import { ownCommand } from "../../base/own-command.ts";
import { shellQuote } from "../../base/shell-quote.ts";
import { sayDuration, writeSize } from "../../base/units.ts";
import { isPin, type TlsDemand } from "../../net/tls.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { readAuthorities } from "../../net/tls-identity.ts";
import { checkZone, framingFlag, hostFlaw, parseHost, parsePort, portFlaw, type Flags } from "../flags.ts";
import { commonFlags, inGroup, type FlagsDef } from "../parse.ts";
import { KnownServers } from "./known-servers.ts";

/** The arguments of `parley connect`. */
export const connectFlags = {
  ...inGroup("Where to and who", {
    target: {
      type: "positional",
      required: false,
      valueHint: "[USER@]HOST[:PORT]",
      completes: "server",
      description: `user and server; without PORT, ${DEFAULT_PORT} or a prompt`,
    },
    user: { type: "string", valueHint: "NAME", completes: "login", description: "user name" },
    "password-file": {
      type: "string",
      valueHint: "FILE",
      description: "read the password from a file (or $PARLEY_PASSWORD)",
    },
    "password-stdin": { type: "boolean", description: "read the password from standard input" },
    register: { type: "boolean", description: "create an account and log in" },
    "no-token": { type: "boolean", description: "do not use or store a session token" },
    bare: { type: "boolean", description: "message frames only: no login, no session" },
    framing: framingFlag,
  }),
  ...inGroup("What to send and print", {
    send: {
      type: "string",
      multiple: true,
      valueHint: "TEXT",
      description: "message to send instead of stdin; repeatable",
    },
    count: { type: "string", valueHint: "N", description: "exit after N answers" },
    timeout: { type: "string", valueHint: "TIME", description: "fail if nothing arrives for this long" },
    raw: { type: "boolean", description: "send and print bytes unchanged, not lines" },
    null: { type: "boolean", alias: "0", description: "end messages with NUL, not newline, both ways" },
    json: { type: "boolean", description: "print one JSON object per event" },
    "max-frame": {
      type: "string",
      valueHint: "SIZE",
      description: `longest message to accept (default ${writeSize(MAX_ANSWER_BYTES)})`,
    },
    pty: { type: "boolean", description: "let the server's program draw on this terminal (default: ask)" },
    "exit-status": { type: "boolean", description: "exit with the remote program's status" },
  }),
  ...inGroup("Forwarding", {
    listen: {
      type: "string",
      valueHint: "[ADDRESS:]PORT",
      description: "forward local connections to the server (or unix:/path)",
    },
    open: { type: "boolean", description: "allow --listen beyond loopback" },
    "port-file": {
      type: "string",
      valueHint: "FILE",
      description: "write the port of --listen there when ready",
    },
  }),
  ...inGroup("Lost connections", {
    wait: {
      type: "string",
      valueHint: "TIME",
      description: "keep trying this long if the server is down or busy",
    },
    retry: {
      type: "string",
      valueHint: "N|forever",
      description: `tries to reconnect (default: for ${sayDuration(RETRY_FOR_MS)} on a terminal, none in a pipe)`,
    },
    resend: { type: "boolean", description: "resend unconfirmed messages in a new session, too" },
  }),
  ...inGroup("Keys and TLS", {
    tls: { type: "boolean", description: "use TLS (default beyond loopback)" },
    "no-tls": { type: "boolean", description: "use plain TCP (default on loopback)" },
    pin: {
      type: "string",
      valueHint: "sha256/…",
      description: "trust only this key, as the server prints it",
    },
    "accept-new": { type: "boolean", description: "use TLS and trust an unknown server's key" },
    "tls-ca": { type: "string", valueHint: "FILE", description: "trust servers certified by this CA (PEM)" },
    forget: { type: "boolean", description: "forget the server's key and exit" },
    "key-file": { type: "string", valueHint: "FILE", description: "shared key of client and server" },
    "allow-md5": { type: "boolean", description: "accept MD5 proofs of it (Python 3.11 and older)" },
  }),
  ...inGroup("Tools", {
    check: { type: "boolean", description: "time each step from TCP to an answer and exit" },
    bench: { type: "boolean", description: "measure throughput and latency and exit" },
    trace: { type: "boolean", description: "print every frame on stderr" },
    sessions: { type: "boolean", description: "list stored session tokens and exit" },
    logout: { type: "boolean", description: "end the stored session token and exit" },
  }),
  ...commonFlags,
} satisfies FlagsDef;

export type ConnectFlags = Flags<keyof typeof connectFlags>;

const CHANNEL = ["tls", "no-tls", "pin", "accept-new", "tls-ca", "key-file", "allow-md5"] as const;
const LOGIN = ["user", "password-file", "password-stdin", "register", "no-token"] as const;
const DIAL = ["target", "wait", "max-frame", ...CHANNEL] as const;

type Name = keyof typeof connectFlags;

/** Which of them cannot stand together. */
export const connectRules = {
  alone: {
    sessions: ["json"],
    forget: ["target"],
    listen: [...DIAL, ...LOGIN, "json", "open", "port-file", "retry"],
    check: [...DIAL, ...LOGIN, "bare", "framing", "timeout", "json"],
    bench: [...DIAL, ...LOGIN, "bare", "framing", "timeout", "json", "count"],
    logout: [...DIAL, "user", "timeout", "json", "trace"],
  },
  apart: {
    pty: ["send", "count", "timeout", "raw", "null", "json", "bare", "resend"],
    bare: ["user", "password-file", "password-stdin", "register", "retry", "resend", "exit-status"],
    raw: ["null", "json"],
    "no-tls": ["tls", "pin", "accept-new", "tls-ca"],
    "accept-new": ["pin", "tls-ca"],
    "password-file": ["password-stdin"],
    "retry 0": ["resend"],
  },
  needs: {
    open: ["listen"],
    "port-file": ["listen"],
    "allow-md5": ["key-file"],
  },
  names: { target: "a server" },
} satisfies {
  alone: Partial<Record<Name, readonly Name[]>>;
  apart: Partial<Record<Name | `${Name} ${string}`, readonly Name[]>>;
  needs: Partial<Record<Name, readonly [Name]>>;
  names: Partial<Record<Name, string>>;
};

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
        "missing argument [USER@]HOST[:PORT]",
        "name the server, for example: parley connect 127.0.0.1:13131",
      );
    const host =
      parseHost(await terminal.ask("host:", { default: last.host ?? "127.0.0.1", check: hostFlaw })) ?? "";
    return targetOf(host, await askPort(terminal, last.port), flags.text("user"));
  }
  const [, user, hostText, portText] =
    /^(?:([^@]*)@)?(\[[^\]]*\]|[^:]*|[^[]*:[^[]*:[^[]*)(?::(\d*))?$/.exec(given) ?? [];
  if (/^\d+$/.test(given))
    throw usageError(`invalid host "${given}"`, `for that port on this machine, use 127.0.0.1:${given}`);
  const host = parseHost(hostText ?? "");
  if (host === undefined)
    throw usageError(
      `invalid server ${JSON.stringify(given)}`,
      "write [USER@]HOST[:PORT], for example ann@127.0.0.1:13131",
    );
  checkZone(host);
  if (user?.includes(":") === true)
    throw usageError(
      "a password cannot stand before the host",
      "use --password-file FILE, --password-stdin or $PARLEY_PASSWORD",
    );
  if (user !== undefined && flags.has("bare"))
    throw usageError("--bare takes a server without a user", "bare frames have no login");
  if (user !== undefined && flags.text("user") !== undefined)
    throw usageError("USER@ and --user cannot be used together");
  const who = user ?? flags.text("user");
  if (portText === undefined) {
    return targetOf(host, terminal.canAsk ? await askPort(terminal, last.port) : DEFAULT_PORT, who);
  }
  const port = parsePort(portText);
  if (port === undefined)
    throw usageError(`invalid port ${JSON.stringify(portText)}`, "use a number from 1 to 65535");
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

/** A server that has a key is not used in plain text: a machine in the middle could ask for that. */
function isTlsServer({ server }: Target, since: string): ParleyError {
  const message = `${server} has been known as a TLS server since ${since.slice(0, 10)}: it is not used in plain text`;
  return new ParleyError("pin_changed", message, {
    hint: `leave out --no-tls; if the server has no TLS any more, forget its key first: ${ownCommand(`connect --forget ${shellQuote(server)}`)}`,
  });
}

/** The channel that the flags ask for; undefined: plain text. @throws {ParleyError} `usage`, or `failed` for a file. */
export function planChannel(
  flags: ConnectFlags,
  target: Target,
  state: ClientState,
  terminal: Terminal,
): ChannelPlan | undefined {
  const demands = (["tls", "pin", "accept-new", "tls-ca"] as const).filter((name) => flags.isGiven(name));
  const known = demands.length === 0 ? state.findServer(target.server) : undefined;
  if (flags.has("no-tls")) {
    if (known !== undefined) throw isTlsServer(target, known.since);
    return undefined;
  }
  const pin = flags.text("pin");
  if (pin !== undefined && !isPin(pin)) {
    throw usageError(
      `--pin: invalid pin ${JSON.stringify(pin)}`,
      "copy the pin that the server prints: sha256/ and 44 characters",
    );
  }
  const authority = flags.text("tls-ca");
  if (demands.length === 0 && known === undefined && isLoopback(target.host)) return undefined;
  const trust = new KnownServers(target.server, state, terminal, { pin, acceptNew: flags.has("accept-new") });
  if (authority === undefined)
    return { tls: { authorities: undefined, knownSince: known?.since.slice(0, 10) }, trust };
  return { tls: { authorities: readAuthorities(authority) }, trust: pin === undefined ? undefined : trust };
}
