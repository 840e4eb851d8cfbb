// Where parley keeps what it remembers: `--data DIR`, else $PARLEY_DATA, else $XDG_STATE_HOME/parley or
// ~/.local/state/parley; made with mode 0700.

import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { makePrivateFolder } from "./create.ts";

export class DataFolder {
  readonly path: string;

  /** @throws {ParleyError} `failed` when it does not exist and cannot be made. */
  constructor(flag: string | undefined) {
    const { PARLEY_DATA, XDG_STATE_HOME } = process.env;
    const state = XDG_STATE_HOME || join(homedir(), ".local", "state");
    this.path = resolve(flag ?? (PARLEY_DATA || join(state, "parley")));
    makePrivateFolder(this.path);
  }

  /** The server's users, tokens and known addresses. */
  get users(): string {
    return join(this.path, "users.json");
  }

  get log(): string {
    return join(this.path, "parley.log");
  }

  /** A server's own key and certificate. */
  get tlsKey(): string {
    return join(this.path, "tls-key.pem");
  }

  get tlsCertificate(): string {
    return join(this.path, "tls-cert.pem");
  }

  /** The servers that a client trusts, by their pins. */
  get knownServers(): string {
    return join(this.path, "known-servers.json");
  }

  /** A client's session tokens. */
  get tokens(): string {
    return join(this.path, "tokens.json");
  }

  /** Host, port and user of the last conversation. */
  get last(): string {
    return join(this.path, "last.json");
  }

  /** What was typed in conversations. */
  get history(): string {
    return join(this.path, "history");
  }
}
