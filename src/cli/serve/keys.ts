// A server's certificate with its key, and the key that it shares with its clients. Each is made where it is missing; with
// --check, parley only says that it would be.

import { resolve } from "node:path";
import { isLoopback } from "../../base/address.ts";
import type { SharedKey } from "../../auth/shared-key.ts";
import type { DataFolder } from "../../files/data-folder.ts";
import { LockedFile } from "../../files/locked-file.ts";
import { lacksKeyFile, makeKeyFile } from "../../auth/shared-key-file.ts";
import type { TlsIdentity } from "../../net/tls.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { certificateFlaw, loadIdentity, missingPart, loadOrCreateIdentity } from "../../net/tls-identity.ts";
import { sharedKey } from "../flags.ts";
import type { ServeFlags } from "./flags.ts";

/**
 * The key and certificate for TLS, which is the default beyond loopback. Undefined: plain TCP, or
 * a check, and there is none yet.
 *
 * @throws {ParleyError} `failed` for a file. @throws {FileError} when it is not safe.
 */
export async function planTls(
  flags: ServeFlags,
  host: string,
  folder: DataFolder,
  terminal: Terminal,
): Promise<TlsIdentity | undefined> {
  const certificate = flags.text("tls-cert");
  const key = flags.text("tls-key");
  if (certificate !== undefined && key !== undefined) return loadIdentity(key, certificate);
  if (flags.has("no-tls") || (!flags.has("tls") && isLoopback(host))) return undefined;
  const missing = flags.has("check") ? missingPart(folder.tlsKey, folder.tlsCertificate) : undefined;
  if (missing !== undefined) {
    await new LockedFile(missing).tryToWrite("");
    const what =
      missing === folder.tlsKey
        ? "would create a new certificate and its key"
        : "would create a new certificate";
    terminal.say(`${what}: ${missing}`);
    return undefined;
  }
  return loadOrCreateIdentity(folder.tlsKey, folder.tlsCertificate);
}

/** For so long before a certificate expires, each start says so. */
const NOTICE_MS = 7 * 24 * 60 * 60 * 1000;

/** Why clients refuse a certificate that has expired or is not valid yet; prints that one will expire soon. */
export function outdatedCertificate(tls: TlsIdentity, terminal: Terminal): string | undefined {
  const flaw = certificateFlaw(tls);
  if (flaw !== undefined) return `the certificate ${flaw}: clients with --tls-ca refuse it`;
  const soon = certificateFlaw(tls, Date.now() + NOTICE_MS);
  if (soon !== undefined) terminal.say(`the certificate ${soon}`);
  return undefined;
}

/** The key of `--key-file`. Undefined: no such flag, or a check, and there is none yet. @throws as {@link sharedKey}. */
export async function planKey(flags: ServeFlags, terminal: Terminal): Promise<SharedKey | undefined> {
  const path = flags.text("key-file");
  if (path === undefined) return undefined;
  if (flags.has("check") && (await lacksKeyFile(path))) {
    terminal.say(`would create a new shared key: ${resolve(path)}`);
    return undefined;
  }
  if (await makeKeyFile(path)) terminal.say(`created a new shared key: copy ${resolve(path)} to the clients`);
  return sharedKey(flags);
}
