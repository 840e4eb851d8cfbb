// Names the files that parley keeps, and the folder of them: `--data DIR`, else $PARLEY_DATA, else $XDG_STATE_HOME/parley or
// ~/.local/state/parley. The folder is created with mode 0700 by the first command that writes. The commands of cli/ make one
// DataFolder each; client/client-state.ts uses it.

import { statSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { systemCode } from "../base/errors.ts";
import { ownCommand } from "../base/own-command.ts";
import { makePrivateFolder } from "./create.ts";
import { FileError } from "./file-error.ts";

export class DataFolder {
  readonly #path: string | undefined;

  constructor(flag: string | undefined) {
    const named = flag ?? (process.env["PARLEY_DATA"] || undefined);
    const state = named === undefined ? stateFolder() : undefined;
    this.#path = named === undefined ? state && join(state, "parley") : resolve(named);
  }

  /** The folder, absolute. @throws {FileError} `unreadable` when no folder is named and the user has no home. */
  get path(): string {
    if (this.#path !== undefined) return this.#path;
    throw new FileError("unreadable", "cannot choose a data folder: there is no home folder", {
      hint: "name a folder with --data DIR or $PARLEY_DATA",
    });
  }

  /** True when the folder exists, or cannot be inspected: the code that reads it then says why it cannot. */
  get exists(): boolean {
    if (this.#path === undefined) return false;
    try {
      statSync(this.#path);
      return true;
    } catch (error) {
      return systemCode(error) !== "ENOENT";
    }
  }

  /** This folder, for a command that reads it. @throws {FileError} `unreadable` when the folder does not exist. */
  expect(): this {
    if (this.exists) return this;
    throw new FileError("unreadable", `there is no folder ${this.path}`, {
      hint: `give the server's folder with --data DIR, or create the first user with: ${ownCommand("users add NAME")}`,
    });
  }

  /** This folder, created if it is missing. @throws {FileError} `unwritable` when it cannot be created. */
  make(): this {
    makePrivateFolder(this.path);
    return this;
  }

  /** The server's users, tokens and known addresses. */
  get users(): string {
    return join(this.path, "users.json");
  }

  /** The stores in engines that were used with this folder. */
  get stores(): string {
    return join(this.path, "stores.json");
  }

  get log(): string {
    return join(this.path, "parley.log");
  }

  /** The key that a server made for itself. */
  get tlsKey(): string {
    return join(this.path, "tls-key.pem");
  }

  /** The certificate that a server made for itself. */
  get tlsCertificate(): string {
    return join(this.path, "tls-cert.pem");
  }

  /** The servers that a client trusts, by their pins. */
  get knownServers(): string {
    return join(this.path, "known-servers.json");
  }

  /** The servers whose programs may draw on the terminal of a client. */
  get terminals(): string {
    return join(this.path, "terminals.json");
  }

  /** A client's session tokens. */
  get tokens(): string {
    return join(this.path, "tokens.json");
  }

  /** Host, port and user of a client's last login. */
  get last(): string {
    return join(this.path, "last.json");
  }

  /** The lines that a person typed in `parley connect`. */
  get history(): string {
    return join(this.path, "history");
  }
}

/**
 * The folder for the state of programs; undefined for a user without a home. A relative $XDG_STATE_HOME is ignored, as the XDG
 * Base Directory Specification demands.
 */
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
