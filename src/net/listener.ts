// The listening socket: which port, how many connections, and the end of listening. Knows nothing of bytes.
//
// A busy port is one that anybody holds on 127.0.0.1, ::1, 0.0.0.0 or :: — two servers can share a port number on
// different addresses, and a client of `localhost` would reach whichever comes first.

import { readFileSync } from "node:fs";
import { ParleyError, messageOf, systemCode } from "../errors.ts";
import {
  MAX_CONNECTIONS,
  MAX_LOGIN_FRAME_BYTES,
  PORT_ATTEMPTS,
  RESERVED_DESCRIPTORS,
  TCP_KEEPALIVE_MS,
} from "../limits.ts";
import { Connection, formatAddress } from "./connection.ts";
import { Cork } from "./cork.ts";

export interface ListenOptions {
  /** Address or name to listen on, without brackets. */
  host: string;
  /** 0: any free port. */
  port: number;
  /** Fail when the port is busy, instead of taking one of the next {@link PORT_ATTEMPTS}. */
  strictPort?: boolean;
  /** Connections at once; clamped to the descriptor limit less {@link RESERVED_DESCRIPTORS}. */
  maxConnections?: number;
  maxBacklog?: number;
  /** A peer has connected. `full`: one more than there may be; say so and finish it. */
  accept(connection: Connection, full: boolean): void;
}

export interface Listener {
  readonly host: string;
  /** The port taken. */
  readonly port: number;
  /** Every connection whose socket is not gone. */
  readonly connections: ReadonlySet<Connection>;
  /** Connections at once, after clamping. */
  readonly maxConnections: number;
  /** Accepts nobody any more; the connections there are live on. */
  stop(): void;
  /** Stops, and resets every connection. */
  terminate(): void;
}

/**
 * Listens.
 *
 * @throws {ParleyError} `failed` when the port (and, unless strict, each of the next ones) is busy, or the address is
 *   not of this machine.
 */
export function listen(options: ListenOptions): Listener {
  const connections = new Set<Connection>();
  const cork = new Cork();
  const maxConnections = Math.max(1, Math.min(options.maxConnections ?? MAX_CONNECTIONS, descriptorLimit()));
  /** Those of them that are only being told that there are too many. */
  const turnedAway = new Set<Connection>();
  const closed = (connection: Connection) => {
    connections.delete(connection);
    turnedAway.delete(connection);
  };
  const { socket: server, host } = bind(options, {
    open(socket) {
      // Over the limit by as many as are being told so: the next ones are not even told.
      if (connections.size >= maxConnections + RESERVED_DESCRIPTORS / 2) {
        socket.terminate();
        return;
      }
      const connection = new Connection(socket, {
        cork,
        maxFrame: MAX_LOGIN_FRAME_BYTES,
        maxBacklog: options.maxBacklog,
        holdInput: true,
        onClose: closed,
      });
      socket.data = connection;
      socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
      const full = connections.size - turnedAway.size >= maxConnections;
      connections.add(connection);
      if (full) turnedAway.add(connection);
      options.accept(connection, full);
    },
    data: (socket, chunk) => socket.data?.received(chunk),
    drain: (socket) => socket.data?.flush(),
    end: (socket) => socket.data?.peerEnded(),
    close: (socket, error) => socket.data?.wasClosed(error),
    // Without this handler a throw would end the whole process (measured); with it, it is one connection's matter.
    error: (socket, error) => socket.data?.broke(error),
  });
  const { port } = server;
  return {
    host,
    port,
    connections,
    maxConnections,
    stop: () => server.stop(false),
    terminate() {
      server.stop(false);
      for (const connection of connections) connection.terminate();
    },
  };
}

type Handlers = Bun.SocketHandler<Connection>;
type Server = Bun.TCPSocketListener<Connection>;

/** The first free port from `options.port` on, held. */
function bind(options: ListenOptions, handlers: Handlers): { socket: Server; host: string } {
  const { host, port: wanted } = options;
  if (wanted === 0) return { socket: open(host, 0, handlers), host };
  const last = options.strictPort === true ? wanted : Math.min(65535, wanted + PORT_ATTEMPTS);
  for (let port = wanted; port <= last; port++) {
    if (isTaken(port)) continue;
    try {
      return { socket: open(host, port, handlers), host };
    } catch (error) {
      if (!(error instanceof ParleyError) || systemCode(error.cause) !== "EADDRINUSE") throw error;
    }
  }
  throw new ParleyError(
    "failed",
    last === wanted ? `port ${wanted} is busy` : `ports ${wanted} to ${last} are all busy`,
    { hint: "another program listens there: stop it, or choose with --port (0 takes any free one)" },
  );
}

/** Does anybody listen on `port`, at any address that a client of this machine might try? */
function isTaken(port: number): boolean {
  return ["127.0.0.1", "::1", "0.0.0.0", "::"].some((hostname) => {
    try {
      Bun.listen({ hostname, port, socket: { data() {} } }).stop(true);
      return false;
    } catch (error) {
      return systemCode(error) === "EADDRINUSE"; // anything else: no such address here, so nobody is on it
    }
  });
}

function open(hostname: string, port: number, socket: Handlers): Server {
  try {
    // `data` is set in `open`, which Bun's type does not allow for.
    return Bun.listen<Connection>({ hostname, port, allowHalfOpen: true, socket });
  } catch (error) {
    throw new ParleyError("failed", `cannot listen on ${formatAddress(hostname, port)}: ${explain(error)}`, {
      hint:
        systemCode(error) === "EACCES"
          ? "ports below 1024 belong to the administrator: choose one above"
          : undefined,
      cause: error,
    });
  }
}

function explain(error: unknown): string {
  switch (systemCode(error)) {
    case "EADDRINUSE":
      return "the port is busy";
    case "EADDRNOTAVAIL":
      return "this machine has no such address";
    case "EACCES":
      return "permission denied";
    default:
      return messageOf(error);
  }
}

/** How many connections the descriptor limit allows; at the limit itself Bun spins in accept (measured). */
function descriptorLimit(): number {
  try {
    const limits = readFileSync("/proc/self/limits", "utf8");
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return soft === undefined ? Infinity : Number(soft) - RESERVED_DESCRIPTORS;
  } catch {
    return Infinity; // no /proc: not Linux, where limits are far higher than any default here
  }
}
