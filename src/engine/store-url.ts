// The URL of a store in an engine, as `--store` has it.
//
//     redis://[USER@]HOST[:PORT][/DB]        rediss:// is the same over TLS
//     redis+unix://[USER@]/PATH[?db=DB]
//     redis+sentinel://[USER@]HOST:PORT[,HOST:PORT …]/MASTER[/DB]        also rediss+sentinel://

import { formatAddress, isAddress, spellHost, zoneOf } from "../base/address.ts";
import { usageError } from "../base/errors.ts";
import { ENGINE_PORT } from "../base/limits.ts";

export interface TcpAddress {
  readonly kind: "tcp";
  /** Name or address, without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface UnixAddress {
  readonly kind: "unix";
  readonly path: string;
}

/** Sentinels, which know the address of the engine. */
export interface Sentinels {
  readonly kind: "sentinel";
  readonly addresses: readonly TcpAddress[];
  /** The name that the sentinels have for the engine. */
  readonly master: string;
}

export type EngineAddress = TcpAddress | UnixAddress;

export interface EngineTarget {
  /** The URL in normal form, without a password. */
  readonly shown: string;
  /** Undefined: the engine's default user. */
  readonly user: string | undefined;
  readonly tls: boolean;
  readonly db: number;
  readonly at: EngineAddress | Sentinels;
}

/** An engine, and what proves to each other who both are. */
export interface EngineAccess {
  readonly target: EngineTarget;
  readonly password?: string;
  /** The authorities that may sign the engine's certificate, in PEM. */
  readonly ca?: string;
  /** The certificate of this client, in PEM. */
  readonly cert?: string;
  /** The key of {@link cert}, in PEM. */
  readonly key?: string;
}

const FORMS =
  "write it as redis://[USER@]HOST[:PORT][/DB], rediss://… with TLS, redis+unix:///PATH[?db=DB], or redis+sentinel://HOST:PORT,…/MASTER[/DB]";
const PASSWORD_HINT = "use --store-password-file, or set PARLEY_STORE_PASSWORD";

/** Bun 1.4.5 changes any other character of a path (measured). */
const PATH = /^(?:\/[\w.+@:~=,-]+)+$/;
const HOST_NAME = /^[\w-]+(?:\.[\w-]+)*\.?$/;
const MASTER = /^[\w.-]+$/;
/** Bun 1.4.5 takes a database of 9 digits, and the engine decides. */
const DATABASE = /^\d{1,9}$/;

/** @throws {ParleyError} `usage`, which shows no password. */
export function parseStoreUrl(text: string): EngineTarget {
  const [, scheme = "", authority = "", rest = ""] =
    /^([a-z][a-z0-9+]*):\/\/([^/?#]*)(.*)$/is.exec(text) ?? [];
  const at = authority.lastIndexOf("@");
  if (authority.slice(0, Math.max(at, 0)).includes(":"))
    throw usageError("--store: a password does not belong in the URL", PASSWORD_HINT);
  const parts: UrlParts = {
    text,
    user: at === -1 ? undefined : parseUser(text, authority.slice(0, at)),
    hosts: authority.slice(at + 1),
    rest,
  };
  switch (scheme.toLowerCase()) {
    case "redis":
      return parseTcp(parts, false);
    case "rediss":
      return parseTcp(parts, true);
    case "redis+unix":
      return parseUnix(parts);
    case "redis+sentinel":
      return parseSentinels(parts, false);
    case "rediss+sentinel":
      return parseSentinels(parts, true);
    default:
      throw invalid(text, "URL");
  }
}

/** `host:port` of an address, or its path. */
export function showAddress(address: EngineAddress): string {
  return address.kind === "unix" ? address.path : formatAddress(address.host, address.port);
}

/** User and password, where the engine gets any. */
export function loginOf({ target, password }: EngineAccess): [user: string, password: string] | undefined {
  if (target.user === undefined && password === undefined) return undefined;
  return [target.user ?? "default", password ?? ""];
}

/** A name or an IPv4 address. */
function isHostName(text: string): boolean {
  return HOST_NAME.test(text);
}

/** Bun's client takes none with a zone (measured with 1.4.5). */
function isIpv6(text: string): boolean {
  return text.includes(":") && isAddress(text) && zoneOf(text) === undefined;
}

/** The address of an engine as a sentinel has it; undefined when it is none. */
export function readAddress(host: unknown, port: unknown): TcpAddress | undefined {
  if (typeof host !== "string" || typeof port !== "string" || !/^\d{1,5}$/.test(port)) return undefined;
  const isGood = (isHostName(host) || isIpv6(host)) && Number(port) >= 1 && Number(port) <= 65_535;
  return isGood ? { kind: "tcp", host, port: Number(port) } : undefined;
}

interface UrlParts {
  text: string;
  user: string | undefined;
  /** What is between the user and the first slash. */
  hosts: string;
  /** Everything from the first slash on. */
  rest: string;
}

function parseTcp({ text, user, hosts, rest }: UrlParts, tls: boolean): EngineTarget {
  const [, database] = /^(?:\/(\d+)?)?$/.exec(rest) ?? invalidPart(text, rest, "database");
  const at = parseHost(text, hosts);
  const db = parseDatabase(text, database);
  return {
    shown: `${scheme("redis", tls)}${shownUser(user)}${showAddress(at)}${shownDb(db)}`,
    user,
    tls,
    db,
    at,
  };
}

function parseUnix({ text, user, hosts, rest }: UrlParts): EngineTarget {
  if (hosts !== "") throw invalid(text, "path", "write it as redis+unix:///PATH, with three slashes");
  const [, path = "", database] =
    /^([^?#]*)(?:\?db=(\d*))?$/.exec(rest) ?? invalidPart(text, rest, "database");
  const isPlain = PATH.test(path) && !path.split("/").some((part) => part === "." || part === "..");
  if (!isPlain) throw invalid(text, "path", "use an absolute path of letters, digits and . _ - + @ : ~ = ,");
  const db = parseDatabase(text, database);
  const shown = `redis+unix://${shownUser(user)}${path}${db === 0 ? "" : `?db=${db}`}`;
  return { shown, user, tls: false, db, at: { kind: "unix", path } };
}

function parseSentinels({ text, user, hosts, rest }: UrlParts, tls: boolean): EngineTarget {
  const [, master = "", database] =
    /^\/?([^/?#]*)(?:\/(\d*))?$/.exec(rest) ?? invalidPart(text, rest, "database");
  if (!MASTER.test(master))
    throw invalid(
      text,
      "name of a master",
      "use the name after `sentinel monitor` in the sentinels' configuration",
    );
  const addresses = hosts.split(",").map((host) => {
    if (!/:\d+$/.test(host))
      throw invalid(text, "address of a sentinel", "write it with its port, as HOST:26379");
    return parseHost(text, host);
  });
  const db = parseDatabase(text, database);
  const list = addresses.map((address) => showAddress(address)).join(",");
  const shown = `${scheme("redis", tls)}`.replace("://", "+sentinel://");
  return {
    shown: `${shown}${shownUser(user)}${list}/${master}${shownDb(db)}`,
    user,
    tls,
    db,
    at: { kind: "sentinel", addresses, master },
  };
}

function parseHost(text: string, host: string): TcpAddress {
  const [, address, name, digits] = /^(?:\[(.*)\]|([^:[\]]*))(?::(\d*))?$/.exec(host) ?? [];
  const port = digits === undefined ? ENGINE_PORT : Number(digits);
  if (digits === "" || port < 1 || port > 65_535) throw invalid(text, "port", "use a port from 1 to 65535");
  const isGood = address === undefined ? isHostName(name ?? "") : isIpv6(address);
  if (!isGood) throw invalid(text, "host");
  return { kind: "tcp", host: spellHost(address ?? name ?? ""), port };
}

function parseUser(text: string, user: string): string {
  try {
    const name = decodeURIComponent(user);
    if (name !== "" && !/[\s\0]/.test(name)) return name;
  } catch {
    // A percent sign without its two digits.
  }
  throw invalid(text, "user");
}

function parseDatabase(text: string, digits: string | undefined): number {
  if (digits === undefined) return 0;
  if (!DATABASE.test(digits)) throw invalid(text, "database", "use the number of a database, such as 0");
  return Number(digits);
}

function scheme(name: string, tls: boolean): string {
  return `${name}${tls ? "s" : ""}://`;
}

function shownUser(user: string | undefined): string {
  return user === undefined ? "" : `${encodeURIComponent(user)}@`;
}

function shownDb(db: number): string {
  return db === 0 ? "" : `/${db}`;
}

/** @throws always: `rest` is no database, or has a query or fragment, which no form of the URL has. */
function invalidPart(text: string, rest: string, noun: string): never {
  if (rest.includes("#") || rest.includes("?"))
    throw invalid(text, "URL", "leave out the query and the fragment: use the flags of --store instead");
  throw invalid(text, noun);
}

/** What stands before an `@` may be a password, and is not shown. */
function invalid(text: string, noun: string, hint = FORMS): Error {
  return usageError(`--store: invalid ${noun} in ${JSON.stringify(text.replace(/^.*@/s, "…@"))}`, hint);
}
