// Connecting, with a deadline: Bun 1.4.5 has none of its own, and a pending dial cannot be cancelled (measured).
//
// Over TLS there is no Connection before the channel is established. Whether it leads to the right server is the caller's
// question: see `Connection.pin`.

import type { X509Certificate } from "node:crypto";
import type { Socket } from "bun";
import { ParleyError, messageOf, systemCode, type ErrorDetails } from "../base/errors.ts";
import { DIAL_TIMEOUT_MS } from "../base/limits.ts";
import { sayDuration } from "../base/units.ts";
import { formatAddress, lookupName, spellHost, zoneOf } from "../base/address.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { explainDistrust } from "./certificate-errors.ts";
import { clientOptions, exporterOf, peerCertificate, peerPin, type TlsDemand } from "./tls.ts";

/**
 * `refused`: no process listens there (yet). `unknown_host`: no such name. `unreachable`: any other way of not getting through. `timeout`: no answer.
 * `tls`: a process listens, but no channel that can be trusted came about. `lost`: it was cut off before that.
 */
export class DialError extends ParleyError<
  "refused" | "unknown_host" | "unreachable" | "timeout" | "tls" | "lost"
> {
  override name = "DialError";
}

export interface DialOptions extends Omit<ConnectionOptions, "exporter" | "pin" | "since"> {
  /** Name or address, without brackets. */
  host: string;
  port: number;
  /** Undefined: plain text. */
  tls?: TlsDemand;
  /** Told when TCP is there. */
  onTcp?(): void;
  timeoutMs?: number;
}

/** @throws {DialError} when no connection came about. */
export async function dial(options: DialOptions): Promise<Connection> {
  const { host, port, tls, timeoutMs = DIAL_TIMEOUT_MS } = options;
  const at = formatAddress(host, port);
  const { promise: established, resolve, reject } = Promise.withResolvers<Connection>();
  let over = false;
  /** Connected, and TLS not there yet. */
  let raw: Socket<Connection> | undefined;
  const timer = setTimeout(() => {
    over = true;
    const silence = `did not answer within ${sayDuration(timeoutMs)}`;
    reject(
      raw === undefined
        ? new DialError("timeout", `${at} ${silence}`)
        : channelError("timeout", at, tls, silence),
    );
    raw?.terminate();
  }, timeoutMs);
  const establish = (socket: Socket<Connection>, channel: Pick<ConnectionOptions, "exporter" | "pin">) => {
    if (over) return socket.terminate();
    socket.data = new Connection(socket, { ...options, ...channel });
    resolve(socket.data);
  };
  const handlers = {
    data: (socket: Socket<Connection>, chunk: Uint8Array) => socket.data?.received(chunk),
    drain: (socket: Socket<Connection>) => socket.data?.flush(),
    end: (socket: Socket<Connection>) => socket.data?.peerEnded(),
    error: (socket: Socket<Connection>, error: Error) => socket.data?.onHandlerError(error),
  };
  const connecting =
    tls === undefined
      ? Bun.connect<Connection>({
          hostname: lookupName(host),
          port,
          allowHalfOpen: true,
          socket: {
            ...handlers,
            open(socket) {
              options.onTcp?.();
              establish(socket, {});
            },
            close: (socket, error) => socket.data?.wasClosed(error),
          },
        })
      : Bun.connect<Connection>({
          hostname: lookupName(host),
          port,
          allowHalfOpen: true,
          tls: clientOptions(tls, spellHost(host)),
          socket: {
            ...handlers,
            open(socket) {
              if (over) return socket.terminate();
              raw = socket;
              options.onTcp?.();
            },
            // The channel is there when the peer has shown a certificate. `success` says something else: it is false for
            // one that does not name this host, and true for many that should not be believed (measured with Bun 1.4.5).
            handshake(socket, success, error) {
              const isThere = success || peerPin(socket) !== undefined;
              const isTrusted = tls.authorities === undefined || (socket.authorized && error === null);
              if (isThere && isTrusted) {
                try {
                  return establish(socket, { exporter: exporterOf(socket), pin: peerPin(socket) });
                } catch (thrown) {
                  error = thrown instanceof Error ? thrown : null;
                }
              }
              reject(tlsError(options, error, peerCertificate(socket)));
              socket.terminate();
            },
            close(socket, error) {
              if (socket.data !== undefined) return socket.data.wasClosed(error);
              reject(tlsError(options, error));
            },
          },
        });
  connecting.catch((error: unknown) => reject(dialError(error, host, at)));
  try {
    return await established;
  } finally {
    over = true;
    clearTimeout(timer);
  }
}

export function dialError(error: unknown, host: string, at: string): DialError {
  const code = systemCode(error);
  const zone = zoneOf(host);
  switch (code) {
    case "ECONNREFUSED":
      // Bun says the same of a network that cannot be reached (measured with 1.4.5).
      return new DialError("refused", `nobody listens on ${at}`, {
        hint: "is the server running, and can it be reached from here? start one with: parley serve",
      });
    case "ENOTFOUND":
      return new DialError("unknown_host", `there is no host named ${host}`);
    case "EAI_AGAIN":
    case "ETIMEOUT":
      return new DialError("unreachable", `${host} cannot be looked up at the moment`, {
        hint: "its name server does not answer",
      });
    case "EACCES":
      return new DialError("unreachable", `this machine does not allow a connection to ${at}`, {
        hint: "a firewall of its own forbids it, or it is the address of a whole network",
      });
    case "EADDRINUSE":
    case "EADDRNOTAVAIL":
      return new DialError("unreachable", `this machine has no address or port left to reach ${at} from`, {
        hint: "for an IPv6 address it needs one itself; very many open connections use up all ports",
      });
    case "EINVAL":
      return new DialError("unreachable", `cannot connect to ${at}: the system calls the address invalid`, {
        hint: zone === undefined ? undefined : `is ${zone} an interface of this machine?`,
      });
    default:
      return new DialError("unreachable", `cannot connect to ${at}: ${code ?? messageOf(error)}`);
  }
}

/** Why no channel came about. @param certificate the one that was shown, if there was one. */
function tlsError(
  { host, port, tls }: DialOptions,
  error: unknown,
  certificate?: X509Certificate,
): DialError {
  const at = formatAddress(host, port);
  const code = systemCode(error);
  switch (code) {
    case undefined:
    case "ECONNRESET":
      return channelError("lost", at, tls, "closed the connection before it was encrypted");
    case "EPROTO":
      return channelError("tls", at, tls, "does not speak TLS 1.3", {
        hint: "if it speaks plain text, and the network is your own: --no-tls",
      });
    default: {
      const { why, hint } = explainDistrust(code, host, certificate, tls?.authorities ?? "");
      return new DialError("tls", `the certificate of ${at} is not to be trusted: ${why}`, { hint });
    }
  }
}

/** What `at` did instead of TLS. Where that was only remembered, it may have been given up there. */
function channelError(
  code: "lost" | "timeout" | "tls",
  at: string,
  tls: TlsDemand | undefined,
  what: string,
  details?: ErrorDetails,
): DialError {
  if (tls?.knownSince === undefined) return new DialError(code, `${at} ${what}`, details);
  return new DialError(code, `${at} is remembered as a TLS server since ${tls.knownSince} and ${what}`, {
    hint: `if it speaks plain text now, forget it with: parley connect --forget ${at}`,
  });
}
