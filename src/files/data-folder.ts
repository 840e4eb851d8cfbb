// Where parley keeps what it remembers: `--data DIR`, else $PARLEY_DATA, else $XDG_STATE_HOME/parley or
// ~/.local/state/parley; made with mode 0700 by what writes into it.

import { statSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { makePrivateFolder } from "./create.ts";
import { FileError } from "./file-error.ts";

export class DataFolder {
  readonly #path: string | undefined;

  constructor(flag: string | undefined) {
    const named = flag ?? (process.env["PARLEY_DATA"] || undefined);
    const state = named === undefined ? stateFolder() : undefined;
    this.#path = named === undefined ? state && join(state, "parley") : resolve(named);
  }

  /** @throws {FileError} `unreadable` when no folder is named, and there is no home to have one in. */
  get path(): string {
    if (this.#path !== undefined) return this.#path;
    throw new FileError("unreadable", "there is no home folder to keep anything in", {
      hint: "name a folder with --data DIR or $PARLEY_DATA",
    });
  }

  /** Is there anything there? A folder that cannot be looked at is there: what reads it says why it cannot. */
  get exists(): boolean {
    if (this.#path === undefined) return false;
    try {
      statSync(this.#path);
      return true;
    } catch (error) {
      return systemCode(error) !== "ENOENT";
    }
  }

  /** For what reads. @throws {FileError} `unreadable` when the folder is not there. */
  expect(): this {
    if (this.exists) return this;
    throw new FileError("unreadable", `there is no folder ${this.path}`, {
      hint: "name the one that the server has with --data DIR, or make the first user with: parley users add NAME",
    });
  }

  /** For what writes. @throws {FileError} `unwritable` when the folder does not exist and cannot be made. */
  make(): this {
    makePrivateFolder(this.path);
    return this;
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

/** Undefined for a user without a home. A path that is relative is to be ignored, says the XDG Base Directory Specification. */
function stateFolder(): string | undefined {
  const { XDG_STATE_HOME } = process.env;
  if (XDG_STATE_HOME !== undefined && isAbsolute(XDG_STATE_HOME)) return XDG_STATE_HOME;
  const home = homeFolder();
  return home !== undefined && isAbsolute(home) ? join(home, ".local", "state") : undefined;
}

function homeFolder(): string | undefined {
  try {
    return homedir();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined; // neither $HOME nor an entry in the user database
  }
}
