// Connecting, with a deadline: Bun has none of its own, and a pending dial cannot be cancelled (measured).

import { ParleyError, messageOf, systemCode } from "../errors.ts";
import { DIAL_TIMEOUT_MS } from "../limits.ts";
import { Connection, formatAddress, type ConnectionOptions } from "./connection.ts";

/** `refused`: nobody listens there (yet). `unreachable`: any other way of not getting through. `timeout`: no answer. */
export class DialError extends ParleyError<"refused" | "unreachable" | "timeout"> {
  override name = "DialError";
}

export interface DialOptions extends ConnectionOptions {
  /** Name or address, without brackets. */
  host: string;
  port: number;
  timeoutMs?: number;
}

/** @throws {DialError} when no connection came about. */
export async function dial(options: DialOptions): Promise<Connection> {
  const { host, port, timeoutMs = DIAL_TIMEOUT_MS } = options;
  const at = formatAddress(host, port);
  let late = false;
  let timer: Timer | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late = true;
      reject(new DialError("timeout", `${at} did not answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
  });
  const connected = Bun.connect<Connection>({
    hostname: host,
    port,
    allowHalfOpen: true,
    socket: {
      open(socket) {
        if (late) socket.terminate();
        else socket.data = new Connection(socket, options);
      },
      data: (socket, chunk) => socket.data?.received(chunk),
      drain: (socket) => socket.data?.flush(),
      end: (socket) => socket.data?.peerEnded(),
      close: (socket, error) => socket.data?.wasClosed(error),
      error: (socket, error) => socket.data?.broke(error),
    },
  });
  try {
    const socket = await Promise.race([connected, deadline]);
    return socket.data;
  } catch (error) {
    if (error instanceof DialError) {
      connected.catch(() => undefined); // its own failure comes too late to matter
      throw error;
    }
    throw dialError(error, host, at);
  } finally {
    clearTimeout(timer);
  }
}

function dialError(error: unknown, host: string, at: string): DialError {
  const code = systemCode(error);
  switch (code) {
    case "ECONNREFUSED":
      return new DialError("refused", `nobody listens on ${at}`, {
        hint: "is the server running? start one with: parley serve",
      });
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new DialError("unreachable", `there is no host named ${host}`);
    default:
      return new DialError("unreachable", `cannot connect to ${at}: ${code ?? messageOf(error)}`);
  }
}
