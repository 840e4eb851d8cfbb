// Connects with a deadline: Bun 1.4.5 has no deadline, and cannot cancel a pending dial (measured).
//
// Over TLS there is no Connection before the channel is established. The caller checks that it is the right
// server: see `Connection.pin`.

import type { X509Certificate } from "node:crypto";
import type { Socket } from "bun";
import { ParleyError, messageOf, systemCode, type ErrorDetails } from "../base/errors.ts";
import { DIAL_TIMEOUT_MS } from "../base/limits.ts";
import { ownCommand } from "../base/own-command.ts";
import { sayDuration } from "../base/units.ts";
import { formatAddress, lookupName, spellHost, zoneOf } from "../base/address.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { explainDistrust } from "./certificate-errors.ts";
import { clientBindings, clientOptions, peerCertificate, peerPin, type TlsDemand } from "./tls.ts";

/**
 * `refused`: no process listens there (yet). `unknown_host`: no such name. `unreachable`: any other failure of the network. `timeout`: no answer.
 * `tls`: no trusted TLS channel. `lost`: the connection was lost before TLS was established.
 */
export class DialError extends ParleyError<
  "refused" | "unknown_host" | "unreachable" | "timeout" | "tls" | "lost"
> {
  override name = "DialError";
}

export interface DialOptions extends Omit<ConnectionOptions, "bindings" | "pin" | "since"> {
  /** Name or address, without brackets. */
  host: string;
  port: number;
  /** Undefined: plain text. */
  tls?: TlsDemand;
  /** Called when TCP is connected. */
  onTcp?(): void;
  timeoutMs?: number;
}

/** @throws {DialError} when there is no connection. */
export async function dial(options: DialOptions): Promise<Connection> {
  const { host, port, tls, timeoutMs = DIAL_TIMEOUT_MS } = options;
  const at = formatAddress(host, port);
  const { promise: established, resolve, reject } = Promise.withResolvers<Connection>();
  let over = false;
  /** The socket while TLS is being established. */
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
  const establish = (socket: Socket<Connection>, channel: Pick<ConnectionOptions, "bindings" | "pin">) => {
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
            // The channel is established when the peer has sent a certificate. `success` means something else: it is false for a
            // certificate of another host, and true for many that must not be trusted (measured with Bun 1.4.5).
            handshake(socket, success, error) {
              const isThere = success || peerPin(socket) !== undefined;
              const isTrusted = tls.authorities === undefined || (socket.authorized && error === null);
              if (isThere && isTrusted) {
                try {
                  return establish(socket, { bindings: clientBindings(socket), pin: peerPin(socket) });
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
      // Bun reports the same for a network that cannot be reached (measured with 1.4.5).
      return new DialError("refused", `cannot connect to ${at}: connection refused`, {
        hint: "check the address, or start a server with: parley serve",
      });
    case "ENOTFOUND":
      return new DialError("unknown_host", `unknown host ${host}`);
    case "EAI_AGAIN":
    case "ETIMEOUT":
      return new DialError("unreachable", `cannot look up ${host}: the name server does not answer`, {
        hint: "check the network connection, and try again",
      });
    case "EACCES":
      return new DialError("unreachable", `cannot connect to ${at}: permission denied`, {
        hint: "check this machine's firewall, and that this is not the address of a whole network",
      });
    case "EADDRINUSE":
    case "EADDRNOTAVAIL":
      return new DialError(
        "unreachable",
        `cannot connect to ${at}: this machine has no address or port for it`,
        {
          hint: "check that this machine has an IPv6 address, if the server has one, and that not all ports are in use",
        },
      );
    case "EINVAL":
      return new DialError("unreachable", `cannot connect to ${at}: invalid address`, {
        hint: zone === undefined ? undefined : `check that ${zone} is an interface of this machine`,
      });
    default:
      return new DialError("unreachable", `cannot connect to ${at}: ${code ?? messageOf(error)}`);
  }
}

/** The error of a failed TLS channel. @param certificate the certificate that the server sent, if it did. */
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
      return channelError("lost", at, tls, "closed the connection before TLS was established");
    case "EPROTO":
      return channelError("tls", at, tls, "does not speak TLS 1.3", {
        hint: "use --no-tls if the server has no TLS and you trust the network",
      });
    default: {
      const { why, hint } = explainDistrust(code, host, certificate, tls?.authorities ?? "");
      return new DialError("tls", `cannot trust the certificate of ${at}: ${why}`, { hint });
    }
  }
}

/** The error for a server without TLS. If TLS was only remembered, the server may no longer have it. */
function channelError(
  code: "lost" | "timeout" | "tls",
  at: string,
  tls: TlsDemand | undefined,
  what: string,
  details?: ErrorDetails,
): DialError {
  if (tls?.knownSince === undefined) return new DialError(code, `${at} ${what}`, details);
  return new DialError(code, `${at} has been known as a TLS server since ${tls.knownSince}, but ${what}`, {
    hint: `forget it if it no longer has TLS: ${ownCommand(`connect --forget ${at}`)}`,
  });
}
