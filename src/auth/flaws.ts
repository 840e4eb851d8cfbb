// Unusable entries of users.json, in a file that is not damaged. The server continues, and reports each entry once.

import { peerNotation } from "../base/address.ts";
import { MAX_FLAWS_SHOWN } from "../base/limits.ts";
import { ownCommand } from "../base/own-command.ts";
import type { AuthMode } from "./identity.ts";
import { UNUSABLE, type Document, type User } from "./document.ts";
import { hashFlaw } from "./password.ts";

export interface Flaw {
  /** The user that has the entry, or undefined. */
  user?: string;
  /** The address that has the entry, or undefined. */
  address?: string;
  /** A sentence for the operator, without the hash. */
  message: string;
  hint: string;
}

/** The flaw of a user's hash; undefined when a password can match it. */
export function userFlaw(name: string, { password }: Pick<User, "password">): Flaw | undefined {
  const flaw = hashFlaw(password);
  if (flaw === undefined) return undefined;
  return {
    user: name,
    message: `cannot use the password hash of user ${name}: ${flaw}`,
    hint: `set a new password with: ${ownCommand(`users passwd ${name}`)}`,
  };
}

/** The flaw of a known address; undefined when a client can have it. */
function addressFlaw(address: string): Flaw | undefined {
  const written = peerNotation(address);
  if (written === address) return undefined;
  const why = written === undefined ? "it is not an address" : `it must be written as ${written}`;
  return {
    address,
    message: `the known address ${address} matches no client: ${why}`,
    hint: `forget it with: ${ownCommand(`users hosts forget ${address}`)}`,
  };
}

export class Flaws {
  readonly #mode: AuthMode;
  /** Entries that were reported: users with their hashes, or addresses. */
  #reported = new Set<string>();

  constructor(mode: AuthMode) {
    this.#mode = mode;
  }

  /** The new flaws since the last call, of entries that logins use. */
  news(document: Readonly<Document>): Flaw[] {
    const flaws = this.#find(document);
    const news = [...flaws].filter(([entry]) => !this.#reported.has(entry)).map(([, flaw]) => flaw);
    this.#reported = new Set(flaws.keys());
    return news;
  }

  #find({ users, hosts }: Readonly<Document>): Map<string, Flaw> {
    const flaws = new Map<string, Flaw>();
    const note = (entry: string, flaw: Flaw | undefined) => flaw && flaws.set(entry, flaw);
    if (this.#mode === "password") {
      for (const name of users.inGroup(UNUSABLE)) {
        const user = users.get(name);
        if (user !== undefined) note(`${name} ${user.password}`, userFlaw(name, user));
      }
    } else if (this.#mode === "ip") {
      for (const address of hosts.keys()) note(address, addressFlaw(address));
    }
    return flaws;
  }
}

/** The lines for a terminal: one for each flaw, and only the first of many. */
export function flawLines(flaws: readonly Flaw[]): string[] {
  const shown = flaws.slice(0, MAX_FLAWS_SHOWN).map(({ message }) => message);
  const others = flaws.length - shown.length;
  return others > 0 ? [...shown, `and ${others} more`] : shown;
}
