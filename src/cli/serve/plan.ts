// What the flags of parley serve ask of a server.

import { formatAddress, isAddress, isLoopback } from "../../base/address.ts";
import { AUTH_MODES, type AuthMode } from "../../auth/identity.ts";
import { usageError } from "../../base/errors.ts";
import { DEFAULT_PORT, MAX_FORWARDED_PER_USER } from "../../base/limits.ts";
import type { ListeningSocket } from "../../os/systemd.ts";
import { completeOptions, optionEntries, type OptionValues } from "../../server/option-table.ts";
import type { ServerOptions } from "../../server/options.ts";
import { checkZone, parseHost, parsePort, readFraming, type Flags } from "../flags.ts";
import { UINT32 } from "../../wire/frame.ts";
import type { ServeFlags } from "./flags.ts";

/** What the flags say of a server; its files, its service and its log are added when it starts. */
export type ServerPlan = Omit<ServerOptions, "log" | "store" | "tls" | "key" | "service" | "serviceName"> &
  OptionValues;

/**
 * What all flags together ask for.
 *
 * @param socket a socket that already listens, where the service manager has handed one over.
 * @throws {ParleyError} `usage` when flags cannot be used together or one is out of range.
 */
export function planServer(flags: ServeFlags, socket: ListeningSocket | undefined): ServerPlan {
  const { host, port, fd } = planAddress(flags, socket);
  const bare = flags.has("bare");
  const auth = flags.choice<AuthMode>("auth", AUTH_MODES, "password");
  const framing = readFraming(flags);
  if (!isLoopback(host) && bare && !flags.has("open") && flags.text("key-file") === undefined) {
    const isPlain = framing === undefined || framing === UINT32;
    throw usageError(
      `--bare lets anyone in: not allowed on ${host}`,
      isPlain ? "add --key-file FILE, or --open to allow it" : "add --open to allow it",
    );
  }
  const values = readOptions(flags);
  return {
    host,
    port,
    fd,
    strictPort: flags.has("strict-port"),
    auth,
    bare,
    framing,
    register: flags.has("register"),
    ...values,
    // A longer answer could not be sent.
    maxFrame: Math.min(values.maxFrame, framing?.maxPayloadBytes ?? Infinity),
  };
}

/** The values of {@link SERVER_OPTIONS}: from their flags, or their defaults. */
function readOptions(flags: Flags<string>): OptionValues {
  const given: Partial<OptionValues> = Object.fromEntries(
    optionEntries.map(([name, { flag, kind }]) => [name, flags.read(flag, kind)]),
  );
  if (flags.isGiven("to")) given.maxPerUser ??= MAX_FORWARDED_PER_USER;
  return completeOptions(given);
}

function planAddress(
  flags: ServeFlags,
  socket: ListeningSocket | undefined,
): { host: string; port: number; fd?: number } {
  const hostText = flags.text("host") ?? "127.0.0.1";
  const host = parseHost(hostText);
  if (host === undefined)
    throw usageError(`${flags.label("host")}: invalid address ${JSON.stringify(hostText)}`);
  checkZone(host);
  const portText = flags.text("port") ?? String(DEFAULT_PORT);
  const port = parsePort(portText, 0);
  if (port === undefined)
    throw usageError(
      `${flags.label("port")}: invalid port ${JSON.stringify(portText)}`,
      "use a number from 0 to 65535",
    );
  if (socket === undefined) return { host, port };
  const other = (["host", "port"] as const).find((flag) => flags.text(flag) !== undefined);
  if (other === undefined) return socket;
  const address = formatAddress(socket.host, socket.port);
  const label = flags.label(other);
  throw usageError(
    `${label}: the service manager passed a socket (LISTEN_FDS) that listens on ${address}`,
    `leave out ${label}`,
  );
}

/** The address of `--metrics`; undefined: none. @param port the server's own port. @throws {ParleyError} `usage`. */
export function planMetrics(flags: ServeFlags, port: number): { host: string; port: number } | undefined {
  const text = flags.text("metrics");
  if (text === undefined) return undefined;
  const [, bracketed, plain, portText = ""] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? "";
  const own = parsePort(portText, 0);
  if ((!isAddress(host) && !isLoopback(host)) || own === undefined)
    throw usageError(
      `${flags.label("metrics")}: invalid ADDRESS:PORT ${JSON.stringify(text)}`,
      "write it as 127.0.0.1:9113 or [::1]:9113",
    );
  checkZone(host);
  if (own !== 0 && own === port)
    throw usageError(
      `${flags.label("metrics")}: port ${own} is the port of the server`,
      "choose another port",
    );
  return { host, port: own };
}
