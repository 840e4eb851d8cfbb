// Puts the failures of raw connections into words, with the flag that mends each.

import { EngineError, type EngineErrorCode } from "./engine-error.ts";
import type { RawFailure } from "./raw-connection.ts";
import type { ErrorReply } from "./raw-reply.ts";
import { ReplyError } from "./reply-error.ts";
import { showAddress, type EngineAccess, type EngineAddress } from "./store-url.ts";

/** An engine or a sentinel that was asked. */
export interface Asked {
  access: EngineAccess;
  address: EngineAddress;
  /** `store` or `sentinel`. */
  what: "store" | "sentinel";
}

/** Where it is, as messages show it: `the store at HOST:PORT`. */
export function placeOf({ what, address }: Asked): string {
  return `the ${what} at ${showAddress(address)}`;
}

const CHECK_ADDRESS = "check the address in --store, and that the engine runs there";

export function explainFailure(asked: Asked, failure: RawFailure): EngineError {
  const place = placeOf(asked);
  const { code } = failure;
  switch (failure.kind) {
    case "dial":
      return explainDial(asked, code);
    case "tls":
      return explainTls(asked, failure);
    case "identity":
      return refused(
        `the certificates for ${place} cannot be used: ${code}`,
        "check that --store-ca and --store-cert have certificates in PEM, and that --store-key is the key of --store-cert",
      );
    case "foreign":
      return refused(`${place} is not a Redis or Valkey server`, CHECK_ADDRESS);
    case "closed":
      return asked.access.target.tls && failure.wasEstablished
        ? explainIdentity(asked)
        : unreachable(`${place} closes the connection`, `${CHECK_ADDRESS}, and whether it requires TLS`);
    case "silent":
      return unreachable(
        `${place} does not answer`,
        failure.wasReached
          ? "check that the engine is not stopped or overloaded"
          : `${CHECK_ADDRESS}, and the network between`,
      );
  }
}

/** @param reply the error reply to `command`. */
export function explainReply(asked: Asked, command: string, reply: ErrorReply): EngineError {
  const place = placeOf(asked);
  const { target, password } = asked.access;
  const explained = new ReplyError(place, command, reply.text);
  switch (explained.word) {
    case "WRONGPASS":
      return password === undefined
        ? refused(
            `${place} requires the password of its user`,
            "give it with --store-password-file, or set PARLEY_STORE_PASSWORD",
          )
        : refused(
            `${place} refuses the login: wrong user or password`,
            "check --store-password-file, and the user in --store",
          );
    case "NOAUTH":
      return refused(
        `${place} requires a password`,
        "give it with --store-password-file, or set PARLEY_STORE_PASSWORD",
      );
    case "DENIED":
      return refused(
        `${place} is in protected mode: it accepts connections from its own machine only`,
        "give the engine's user a password, and give it to parley with --store-password-file",
      );
    case "LOADING":
      return unreachable(`${place} is still loading its data`);
  }
  if (reply.text.includes("DB index is out of range"))
    return refused(
      `${place} has no database ${target.db}`,
      "use a smaller number in --store, or raise `databases` of the engine",
    );
  if (reply.text.includes("max number of clients"))
    return unreachable(`${place} has no room for another connection`, "raise `maxclients` of the engine");
  return explained;
}

/** The other side speaks TLS, or does not, unlike `--store`. */
export function wrongChannel(asked: Asked): EngineError {
  const { tls, at } = asked.access.target;
  const scheme = `${tls ? "redis" : "rediss"}${at.kind === "sentinel" ? "+sentinel" : ""}`;
  const what = tls ? "does not speak TLS" : "requires TLS";
  return refused(`${placeOf(asked)} ${what}`, `write --store with ${scheme}://`);
}

function explainDial(asked: Asked, code: string | undefined): EngineError {
  const { address } = asked;
  const place = placeOf(asked);
  switch (code) {
    case "ECONNREFUSED":
      // Bun reports the same for a network that cannot be reached (measured with 1.4.5).
      return unreachable(`cannot connect to ${place}: connection refused`, CHECK_ADDRESS);
    case "ENOENT":
      return unreachable(`cannot connect to ${place}: there is no such socket`, CHECK_ADDRESS);
    case "EACCES":
    case "EPERM":
      return refused(
        `cannot connect to ${place}: permission denied`,
        address.kind === "unix"
          ? "let this user write to the socket (`unixsocketperm` of the engine)"
          : "check this machine's firewall",
      );
    case "ENOTFOUND":
      return unreachable(`cannot connect to ${place}: unknown host`, "check the host in --store");
    case "EAI_AGAIN":
    case "ETIMEOUT":
      return unreachable(
        `cannot connect to ${place}: the name server does not answer`,
        "check the network connection",
      );
    default:
      return unreachable(
        `cannot connect to ${place}: ${code}`,
        "check the address in --store, and the network between",
      );
  }
}

function explainTls(asked: Asked, { code, certificate }: RawFailure): EngineError {
  const place = placeOf(asked);
  const { ca } = asked.access;
  const distrust = (why: string, hint: string) =>
    refused(`cannot trust the certificate of ${place}: ${why}`, hint);
  switch (code) {
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID": {
      const clock = `check the clock of this machine (${new Date().toISOString()})`;
      const hasExpired = code === "CERT_HAS_EXPIRED";
      const end = certificate && Date.parse(hasExpired ? certificate.validTo : certificate.validFrom);
      const isOwn = end !== undefined && end < Date.now() === hasExpired;
      if (!isOwn)
        return distrust(
          "one of its authorities is not valid at this time",
          `renew the authority in --store-ca, and ${clock}`,
        );
      const day = new Date(end).toISOString().slice(0, 10);
      return distrust(
        hasExpired ? `it expired on ${day}` : `it is not valid before ${day}`,
        `renew the engine's certificate, and ${clock}`,
      );
    }
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return distrust(
        `it is not valid for ${asked.address.kind === "tcp" ? asked.address.host : ""}`,
        "use a name of the certificate in --store, or issue a certificate for this name",
      );
    case undefined:
    case "EPROTO":
    case "ECONNRESET":
      return refused(
        `cannot establish TLS with ${place}`,
        "check that it speaks TLS 1.2 or later, and whether it requires --store-cert and --store-key",
      );
    default:
      return distrust(
        ca === undefined
          ? `no authority of this system signed it (${code})`
          : `no authority in --store-ca signed it (${code})`,
        "put the authority that signed it into --store-ca",
      );
  }
}

/** With TLS 1.3 a client learns after the handshake that its certificate is not accepted. */
function explainIdentity(asked: Asked): EngineError {
  const place = placeOf(asked);
  return asked.access.cert === undefined
    ? refused(`${place} requires a client certificate`, "give one with --store-cert and --store-key")
    : refused(
        `${place} refuses the client certificate`,
        "use a --store-cert that an authority of the engine has signed for clients",
      );
}

function refused(message: string, hint: string): EngineError {
  return fault("refused", message, hint);
}

function unreachable(message: string, hint?: string): EngineError {
  return fault("unreachable", message, hint);
}

function fault(code: EngineErrorCode, message: string, hint: string | undefined): EngineError {
  return new EngineError(code, message, { hint });
}
