// The listening socket and its port. A port counts as busy when a process holds it on 127.0.0.1, ::1, 0.0.0.0 or ::. Two servers
// can share a port number on different addresses, and a client of `localhost` would reach either of them.

import type { TLSOptions } from "bun";
import { ParleyError, messageOf, systemCode } from "../base/errors.ts";
import { PORT_ATTEMPTS } from "../base/limits.ts";
import { formatAddress, isAddress, lookupName, zoneOf } from "../base/address.ts";
import type { Connection } from "./connection.ts";

export interface PortOptions {
  /** Address or name to listen on, without brackets. */
  host: string;
  /** 0: any free port. */
  port: number;
  /** Fail when the port is busy, instead of taking one of the next {@link PORT_ATTEMPTS}. */
  strictPort?: boolean;
  /** A descriptor that listens already, at `host` and `port`. */
  fd?: number;
  /** What chooses the port (default: `--port`). */
  flag?: string;
}

/**
 * Listens on the first free port from `options.port` on.
 *
 * @throws {ParleyError} `failed` when the port (and, unless strict, each of the next ones) is busy, or the address does
 *   not belong to this machine.
 */
export function bind<T = Connection>(
  options: PortOptions,
  handlers: Bun.SocketHandler<T>,
  tls: TLSOptions | undefined,
): Bun.TCPSocketListener<T> {
  const { host, port: wanted, fd } = options;
  if (fd !== undefined) return open(host, wanted, handlers, tls, fd);
  if (wanted === 0) return open(host, 0, handlers, tls);
  const last = options.strictPort === true ? wanted : Math.min(65535, wanted + PORT_ATTEMPTS);
  for (let port = wanted; port <= last; port++) {
    if (isTaken(port)) continue;
    try {
      return open(host, port, handlers, tls);
    } catch (error) {
      if (!(error instanceof ParleyError) || systemCode(error.cause) !== "EADDRINUSE") throw error;
    }
  }
  throw new ParleyError(
    "listen",
    last === wanted ? `port ${wanted} is busy` : `ports ${wanted} to ${last} are all busy`,
    {
      hint: `stop the program that uses it, or choose another with ${options.flag ?? "--port"} (0 picks a free one)`,
    },
  );
}

/** True when a process listens on `port` at any address that a client of this machine might try. */
function isTaken(port: number): boolean {
  return ["127.0.0.1", "::1", "0.0.0.0", "::"].some((hostname) => {
    try {
      Bun.listen({ hostname, port, socket: { data() {} } }).stop(true);
      return false;
    } catch (error) {
      return systemCode(error) === "EADDRINUSE"; // any other error: this machine does not have that address
    }
  });
}

function open<T>(
  host: string,
  port: number,
  socket: Bun.SocketHandler<T>,
  tls: TLSOptions | undefined,
  fd?: number,
): Bun.TCPSocketListener<T> {
  try {
    return listen(host, port, socket, { tls, fd });
  } catch (error) {
    throw new ParleyError(
      "listen",
      `cannot listen on ${formatAddress(host, port)}: ${explain(error, host)}`,
      {
        hint:
          systemCode(error) === "EACCES"
            ? "choose a port from 1024 on: lower ones are reserved for root"
            : undefined,
        cause: error,
      },
    );
  }
}

/** Listens at `host` and `port`, or on `fd`. @throws the system's error: see {@link explain}. */
export function listen<T>(
  host: string,
  port: number,
  socket: Bun.SocketHandler<T>,
  { tls, fd }: { tls?: TLSOptions; fd?: number } = {},
): Bun.TCPSocketListener<T> {
  const hostname = lookupName(host);
  // Bun's type does not know that `open` sets `data`, nor `fd`, which replaces host and port.
  const where = fd === undefined ? { hostname, port } : { hostname, port, fd };
  const options = { ...where, allowHalfOpen: true, socket };
  return tls === undefined ? Bun.listen<T>(options) : Bun.listen<T>({ ...options, tls });
}

/** Listens at a path that is free. Bun removes the path when it stops. @throws the system's error. */
export function listenUnix<T>(path: string, socket: Bun.SocketHandler<T>): Bun.UnixSocketListener<T> {
  return Bun.listen<T>({ unix: path, allowHalfOpen: true, socket } as Parameters<typeof Bun.listen<T>>[0] & {
    unix: string;
  });
}

/** The reason why listening on `host` failed. */
export function explain(error: unknown, host: string): string {
  const zone = zoneOf(host);
  const code =
    systemCode(error) ?? (messageOf(error).startsWith("Failed to listen") ? "ENOTFOUND" : undefined);
  switch (code) {
    case "EADDRINUSE":
      return "the port is busy";
    case "EACCES":
      return "permission denied";
    case "EINVAL":
    case "ENOTFOUND": // Bun gives no code for a name or a zone that it cannot find (measured with 1.4.5)
      if (zone !== undefined) return `there is no interface ${zone}`;
      if (!isAddress(host)) return "no address was found for this name";
      return NO_SUCH_ADDRESS;
    case "EADDRNOTAVAIL":
      return NO_SUCH_ADDRESS;
    default:
      return code ?? messageOf(error);
  }
}

const NO_SUCH_ADDRESS = "this machine does not have this address";
