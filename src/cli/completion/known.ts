// The names that a shell completes: those of accounts, of servers that this client knows, and of built-in services. All are read;
// nothing is written, and nothing is asked.

import { setTimeout as delay } from "node:timers/promises";
import type { Document } from "../../auth/document.ts";
import { ParleyError } from "../../base/errors.ts";
import { ClientState } from "../../client/client-state.ts";
import { DataFolder } from "../../files/data-folder.ts";
import { formatServer } from "../../base/address.ts";
import { listServices } from "../../services/catalogue.ts";
import { Flags } from "../flags.ts";
import { openStore, planStore, type StoreFlag } from "../store.ts";
import type { Arguments, Known } from "../parse.ts";
import type { Candidate } from "./place.ts";
import { SCRIPTS } from "./scripts.ts";

/** How long a person who has pressed Tab waits for an engine with accounts. */
const STORE_MS = 500;

/**
 * @param current the beginning of the name, as far as it is typed.
 * @throws {ParleyError} when the files or the engine cannot be read.
 */
export async function findKnown(known: Known, args: Arguments, current: string): Promise<Candidate[]> {
  const flags = new Flags<StoreFlag | "data" | "forget">(args);
  if (known === "service")
    return listServices().map(({ name, summary }) => ({ value: name, about: summary }));
  if (known === "shell") return Array.from(SCRIPTS.keys(), plain);
  if (known === "variable") return Object.keys(process.env).map(plain);
  const folder = new DataFolder(flags.text("data"));
  if (known === "server") return serversOf(new ClientState(folder), flags.has("forget"), current);
  if (known === "login") return unique(new ClientState(folder).tokens().map(({ user }) => plain(user)));
  return namesIn(await readDocument(flags, folder), known);
}

function namesIn(
  { users, tokens, hosts }: Readonly<Document>,
  known: "user" | "token" | "address" | "tag",
): Candidate[] {
  switch (known) {
    case "user":
      return Array.from(users, ([value, { disabled, tags = [] }]) => ({
        value,
        about: disabled === null ? tags.join(" ") : "disabled",
      }));
    case "token":
      return Array.from(tokens, ([value, { user, used }]) => ({
        value,
        about: `${user}, used ${used.slice(0, 10)}`,
      }));
    case "address":
      return Array.from(hosts, ([value, { name }]) => ({ value, about: name }));
    case "tag":
      return unique(Array.from(users).flatMap(([, { tags = [] }]) => tags.map(plain)));
  }
}

async function readDocument(flags: Flags<StoreFlag>, folder: DataFolder): Promise<Readonly<Document>> {
  const plan = planStore(flags);
  if (plan === undefined) folder.expect();
  const opening = openStore(plan, folder, { keeps: false, say: () => undefined, edited: () => undefined });
  // The process ends soon, and with it a connection that is late.
  const late = delay(STORE_MS).then((): never => {
    throw new ParleyError("timeout", `the store did not answer within ${STORE_MS} ms`);
  });
  const opened = await Promise.race([opening, late]);
  return opened.store.document;
}

/** The servers that the client knows, and those of its tokens with their users; with a user typed, that user at each server. */
function serversOf(state: ClientState, isForgetting: boolean, current: string): Candidate[] {
  const known = state
    .servers()
    .map(({ server, since }) => ({ value: server, about: `known since ${since.slice(0, 10)}` }));
  if (isForgetting) return known;
  const { host, port } = state.last();
  const last =
    host === undefined || port === undefined
      ? []
      : [{ value: formatServer(host, port), about: "last login" }];
  const tokens = state.tokens();
  const servers = unique([...known, ...last, ...tokens.map(({ server }) => plain(server))]);
  const logins = tokens.map(({ server, user }) => ({ value: `${user}@${server}`, about: "logged in" }));
  const at = current.indexOf("@");
  if (at === -1) return [...servers, ...logins];
  const user = current.slice(0, at + 1);
  return unique([...logins, ...servers.map(({ value, about }) => ({ value: user + value, about }))]);
}

function plain(value: string): Candidate {
  return { value, about: "" };
}

/** The first candidate of each value. */
function unique(candidates: readonly Candidate[]): Candidate[] {
  const byValue = new Map(candidates.toReversed().map((candidate) => [candidate.value, candidate]));
  return candidates.filter((candidate) => byValue.get(candidate.value) === candidate);
}
