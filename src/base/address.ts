// Addresses: of peers, and what counts as one source (a peer with one IPv6 address has the 2^64 of its network); of servers,
// and which spellings are one server.

import ipaddr from "ipaddr.js";

/** A network, as `--allow` and `--deny` take it: `10.0.0.0/8`, `2001:db8::/32`, or one address. */
export class Cidr {
  readonly #base: ipaddr.IPv4 | ipaddr.IPv6;
  readonly #bits: number;

  private constructor(base: ipaddr.IPv4 | ipaddr.IPv6, bits: number) {
    this.#base = base;
    this.#bits = bits;
  }

  /** Undefined when `text` is no network. */
  static parse(text: string): Cidr | undefined {
    const range = text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`;
    // The library's other checks take 10.1, 0x0a000001 and the octal 010.0.0.1 for addresses, too.
    const isIpv4 = ipaddr.IPv4.isValidCIDRFourPartDecimal(range);
    const isIpv6 = ipaddr.IPv6.isValidCIDR(range) && zoneOf(range) === undefined;
    if (!isIpv4 && !isIpv6) return undefined;
    const [base, bits] = ipaddr.parseCIDR(range);
    if (!(base instanceof ipaddr.IPv6) || !base.isIPv4MappedAddress()) return new Cidr(base, bits);
    // Peers are known by their plain addresses.
    return bits < 96 ? undefined : new Cidr(base.toIPv4Address(), bits - 96);
  }

  has(address: string): boolean {
    const parsed = parse(address);
    return parsed?.kind() === this.#base.kind() && parsed.match(this.#base, this.#bits);
  }
}

/** What limits for each address are counted by: an IPv4 address, or the /64 network of an IPv6 one. */
export function sourceOf(address: string): string {
  if (!address.includes(":")) return address;
  const parsed = parse(address);
  if (!(parsed instanceof ipaddr.IPv6)) return address;
  return `${parsed.parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(":")}::/64`;
}

/** The peer's address without the `::ffff:` of a dual-stack listener. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "");
}

/** An address as peers have it, in the system's way to write it (RFC 5952); undefined when `text` is none. */
export function peerNotation(text: string): string | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text).toString() : undefined;
}

/** `host:port` with the brackets that an IPv6 address needs. */
export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The address of a peer that is written as {@link formatAddress} does. */
export function addressOf(peer: string): string {
  return peer.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
}

/** The port of a peer that is written as {@link formatAddress} does. */
export function portOf(peer: string): number {
  return Number(/:(\d+)$/.exec(peer)?.[1]);
}

/** Does `host` reach this machine alone, so that nothing travels? */
export function isLoopback(host: string): boolean {
  return isLocalName(host) || parseHostAddress(host)?.range() === "loopback";
}

/** Is `text` an address, four decimal numbers or an IPv6 one, with its zone too? (`node:net` for this costs 10 MiB.) */
export function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text);
}

/** Is `host` an address that means nothing without the interface it is reached through? */
export function lacksZone(host: string): boolean {
  const address = parseHostAddress(host);
  return address?.kind() === "ipv6" && address.range() === "linkLocal" && zoneOf(host) === undefined;
}

/** The interface that an IPv6 address names behind its `%`. */
export function zoneOf(host: string): string | undefined {
  return /:.*%(.*)$/.exec(host)?.[1];
}

/** The name to look up for `host`: one below localhost is never asked for, a name server could lead it elsewhere. */
export function lookupName(host: string): string {
  return isLocalName(host) ? "localhost" : host;
}

/** `host` in its usual spelling: a name in lower case and without a dot at the end; it stays a name, wherever it leads. */
export function spellHost(host: string): string {
  return parseHostAddress(host)?.toString() ?? host.toLowerCase().replace(/(?<=.)\.$/, "");
}

/** `host:port` as a server is remembered by. */
export function formatServer(host: string, port: number): string {
  return formatAddress(spellHost(host), port);
}

/** What was remembered as `host:port` in any spelling, as {@link formatServer} has it. */
export function respellServer(server: string): string {
  const [, address, name, port] = /^(?:\[(.+)\]|(.+)):(\d+)$/.exec(server) ?? [];
  const host = address ?? name;
  return host === undefined ? server : formatServer(host, Number(port));
}

/** RFC 6761: localhost, and every name below it. */
function isLocalName(host: string): boolean {
  return /^(?:.+\.)?localhost\.?$/i.test(host);
}

/** An address as connecting takes it: 127.1, 0x7f.1 and 2130706433 are 127.0.0.1 (measured with Bun 1.4.5). */
function parseHostAddress(host: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  // The library takes ::127.0.0.1 for ::ffff:127.0.0.1, which is another address.
  return ipaddr.isValid(host) && !/^::\d+\./.test(host) ? ipaddr.process(host) : undefined;
}

function parse(address: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const bare = address.split("%", 1)[0] ?? "";
  return ipaddr.isValid(bare) ? ipaddr.parse(bare) : undefined;
}
