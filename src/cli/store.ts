// Where the accounts are: in the data folder, or in an engine that `--store` names. `serve` and `users` open them through this.

import { EngineStore } from "../auth/engine-store.ts";
import { FileStore, type FileStoreOptions } from "../auth/file-store.ts";
import type { Store } from "../auth/store.ts";
import { ParleyError, usageError } from "../base/errors.ts";
import { shellQuote } from "../base/shell-quote.ts";
import { EngineError } from "../engine/engine-error.ts";
import { parseStoreUrl, type EngineAccess, type EngineTarget } from "../engine/store-url.ts";
import type { DataFolder } from "../files/data-folder.ts";
import { FileError } from "../files/file-error.ts";
import { readGivenSecret } from "../files/given-text.ts";
import { loadIdentity, readAuthorities } from "../net/tls-identity.ts";
import type { SessionLists } from "../auth/session-status.ts";
import { inUse, SessionStatusFiles } from "../server/session-status-file.ts";
import type { Flags } from "./flags.ts";
import { KnownStores, type StoreKey } from "./known-stores.ts";
import { inGroup, type FlagsDef } from "./parse.ts";

const DEFAULT_NAME = "parley";

/** The flags of `serve` and of every command of `users`. */
export const storeFlags = inGroup("Accounts in Redis or Valkey", {
  store: {
    type: "string",
    valueHint: "URL",
    description: "keep the accounts there: redis://… ($PARLEY_STORE)",
  },
  "store-name": {
    type: "string",
    valueHint: "NAME",
    description: `one of several stores there (default ${DEFAULT_NAME})`,
  },
  "store-password-file": {
    type: "string",
    valueHint: "FILE",
    description: "file of its password (or $PARLEY_STORE_PASSWORD)",
  },
  "store-ca": {
    type: "string",
    valueHint: "FILE",
    description: "PEM authorities of its certificate",
  },
  "store-cert": { type: "string", valueHint: "FILE", description: "PEM certificate that it asks for" },
  "store-key": { type: "string", valueHint: "FILE", description: "PEM private key of --store-cert" },
}) satisfies FlagsDef;

export type StoreFlag = keyof typeof storeFlags;
const OTHERS = (Object.keys(storeFlags) as StoreFlag[]).filter((flag) => flag !== "store");

/** An engine that has the accounts. */
export interface StorePlan {
  access: EngineAccess;
  name: string;
}

/**
 * What the flags and the environment say; undefined: the accounts are in the data folder.
 *
 * @param hasAccounts false for a server without accounts, which needs no store.
 * @throws {ParleyError} `usage`; `failed` for the content of a file.
 */
export function planStore(flags: Flags<StoreFlag>, hasAccounts = true): StorePlan | undefined {
  const password = takeVariable("PARLEY_STORE_PASSWORD");
  if (!hasAccounts) return undefined;
  const given = flags.text("store");
  const url = given ?? (process.env["PARLEY_STORE"] || undefined);
  if (url === undefined) {
    const flag = OTHERS.find((name) => flags.isGiven(name));
    if (flag === undefined) return undefined;
    throw usageError(`${flags.label(flag)} requires --store`);
  }
  const target = parseTarget(url, given === undefined ? "$PARLEY_STORE" : flags.label("store"));
  const file = flags.text("store-password-file");
  return {
    name: parseName(flags),
    access: {
      target,
      ...tlsOf(flags, target),
      password: file === undefined ? password : readGivenSecret(file, flags.label("store-password-file")),
    },
  };
}

/** The value of a variable, which no program that a handler starts should inherit; undefined when it is empty. */
function takeVariable(name: string): string | undefined {
  const value = process.env[name];
  delete process.env[name];
  return value === "" ? undefined : value;
}

function parseTarget(url: string, label: string): EngineTarget {
  try {
    return parseStoreUrl(url);
  } catch (error) {
    if (!(error instanceof ParleyError)) throw error;
    throw usageError(
      error.message.replace("--store", () => label),
      error.hint,
    );
  }
}

function parseName(flags: Flags<StoreFlag>): string {
  const name = flags.text("store-name") ?? DEFAULT_NAME;
  if (/^[\w-]{1,64}$/.test(name)) return name;
  throw usageError(
    `${flags.label("store-name")}: invalid name ${JSON.stringify(name)}`,
    "use up to 64 letters, digits, - and _",
  );
}

function tlsOf(flags: Flags<StoreFlag>, { tls }: EngineTarget): Pick<EngineAccess, "ca" | "cert" | "key"> {
  const [ca, cert, key] = [flags.text("store-ca"), flags.text("store-cert"), flags.text("store-key")];
  const flag = (["store-ca", "store-cert", "store-key"] as const).find((name) => flags.isGiven(name));
  if (flag !== undefined && !tls)
    throw usageError(`${flags.label(flag)} requires a URL of rediss://`, "without TLS it has no effect");
  if ((cert === undefined) !== (key === undefined))
    throw usageError("--store-cert and --store-key require each other");
  const own = cert === undefined || key === undefined ? undefined : loadIdentity(key, cert);
  return {
    ...(ca === undefined ? {} : { ca: readAuthorities(ca) }),
    ...(own === undefined ? {} : { cert: own.certificate, key: own.key }),
  };
}

export interface OpenStore extends AsyncDisposable {
  store: Store;
  sessions: SessionLists;
  /** Where it is, other than in the data folder. */
  url: string | undefined;
}

export interface OpenStoreOptions extends Required<Pick<FileStoreOptions, "edited">> {
  /** Keeps the identity of a new store: default true. */
  keeps?: boolean;
  /** Prints why it is not kept: the store is used all the same. */
  say: (line: string) => void;
}

/**
 * Opens the accounts.
 *
 * @throws {FileError} @throws {EngineError}
 */
export async function openStore(
  plan: StorePlan | undefined,
  folder: DataFolder,
  { keeps = true, say, edited }: OpenStoreOptions,
): Promise<OpenStore> {
  if (plan === undefined) {
    const store = new FileStore(folder.users, { inUse: () => inUse(folder.path), edited });
    const sessions = new SessionStatusFiles(folder.path);
    return { store, sessions, url: undefined, [Symbol.asyncDispose]: () => store.settled() };
  }
  const known = new KnownStores(folder);
  const key = { store: plan.access.target.shown, name: plan.name };
  let kept: Promise<void> | undefined;
  const store = await open(plan, known, key, (epoch) => {
    if (!keeps) return;
    kept = known.add(key, epoch).catch((error: unknown) => {
      if (!(error instanceof FileError)) throw error;
      say(`the identity of ${key.store} is not kept: ${error.message}`);
    });
  });
  return {
    store,
    sessions: store.sessions,
    url: store.place,
    async [Symbol.asyncDispose]() {
      await kept;
      await store.close();
    },
  };
}

async function open(
  plan: StorePlan,
  known: KnownStores,
  key: StoreKey,
  onEpoch: (epoch: string) => void,
): Promise<EngineStore> {
  try {
    return await EngineStore.open({ ...plan, expectedEpoch: known.find(key), onEpoch });
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== "replaced") throw error;
    throw new EngineError("replaced", error.message, {
      hint: `restore its data; for a new start with another store, remove its entry from ${shellQuote(known.path)}`,
      cause: error,
    });
  }
}
