// Addresses of peers and servers. A peer's source is its IPv4 address or its IPv6 /64 network, since a peer with one IPv6 address
// has all 2^64 of its network. Different spellings of a server's address name one server.

import ipaddr from "ipaddr.js";

/** A network, as `--allow` and `--deny` take it: `10.0.0.0/8`, `2001:db8::/32`, or one address. */
export class Cidr {
  readonly #base: ipaddr.IPv4 | ipaddr.IPv6;
  readonly #bits: number;

  private constructor(base: ipaddr.IPv4 | ipaddr.IPv6, bits: number) {
    this.#base = base;
    this.#bits = bits;
  }

  /** Undefined when `text` is not a network. */
  static parse(text: string): Cidr | undefined {
    const range = text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`;
    // The library's other checks also accept 10.1, 0x0a000001 and the octal 010.0.0.1.
    const isIpv4 = ipaddr.IPv4.isValidCIDRFourPartDecimal(range);
    const isIpv6 = ipaddr.IPv6.isValidCIDR(range) && zoneOf(range) === undefined;
    if (!isIpv4 && !isIpv6) return undefined;
    const [base, bits] = ipaddr.parseCIDR(range);
    if (!(base instanceof ipaddr.IPv6) || !base.isIPv4MappedAddress()) return new Cidr(base, bits);
    // Addresses of peers are compared without `::ffff:`.
    return bits < 96 ? undefined : new Cidr(base.toIPv4Address(), bits - 96);
  }

  has(address: string): boolean {
    const parsed = parse(address);
    return parsed?.kind() === this.#base.kind() && parsed.match(this.#base, this.#bits);
  }
}

/** The source for which limits per address count: an IPv4 address, or the /64 network of an IPv6 address. */
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
  return address.startsWith(":") ? address.replace(/^::ffff:(?=\d+\.)/i, "") : address;
}

/** An address as the system writes those of peers (RFC 5952); undefined when `text` is not an address. */
export function peerNotation(text: string): string | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text).toString() : undefined;
}

/** `host:port` with the brackets that an IPv6 address needs. */
export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The address in a text that {@link formatAddress} made. */
export function addressOf(peer: string): string {
  const end = peer.lastIndexOf(":");
  if (end < 0) return peer;
  return peer.startsWith("[") ? peer.slice(1, end - 1) : peer.slice(0, end);
}

/** The port of a peer that is written as {@link formatAddress} does. */
export function portOf(peer: string): number {
  return Number(/:(\d+)$/.exec(peer)?.[1]);
}

/** True when `host` is this machine, so that no data leaves it. */
export function isLoopback(host: string): boolean {
  return isLocalName(host) || parseHostAddress(host)?.range() === "loopback";
}

/** True for an IPv4 address of four decimal numbers and for an IPv6 address, also with a zone. (Importing `node:net` for this costs 10 MiB.) */
export function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text);
}

/** True for a link-local address without the interface that it needs. */
export function lacksZone(host: string): boolean {
  const address = parseHostAddress(host);
  return address?.kind() === "ipv6" && address.range() === "linkLocal" && zoneOf(host) === undefined;
}

/** The interface after the `%` of an IPv6 address. */
export function zoneOf(host: string): string | undefined {
  return /:.*%(.*)$/.exec(host)?.[1];
}

/** The name to look up for `host`. A name below localhost is not looked up, since a name server could answer with another machine. */
export function lookupName(host: string): string {
  return isLocalName(host) ? "localhost" : host;
}

/** `host` in its usual spelling: a name in lower case and without a final dot. A name is not replaced by its address. */
export function spellHost(host: string): string {
  return parseHostAddress(host)?.toString() ?? host.toLowerCase().replace(/(?<=.)\.$/, "");
}

/** `host:port` in the spelling under which a server is remembered. */
export function formatServer(host: string, port: number): string {
  return formatAddress(spellHost(host), port);
}

/** `server`, which is `host:port` in any spelling, in the spelling of {@link formatServer}. */
export function respellServer(server: string): string {
  const [, address, name, port] = /^(?:\[(.+)\]|(.+)):(\d+)$/.exec(server) ?? [];
  const host = address ?? name;
  return host === undefined ? server : formatServer(host, Number(port));
}

/** RFC 6761: localhost, and every name below it. */
function isLocalName(host: string): boolean {
  return /^(?:.+\.)?localhost\.?$/i.test(host);
}

/** An address that connecting accepts: 127.1, 0x7f.1 and 2130706433 are 127.0.0.1 (measured with Bun 1.4.5). */
function parseHostAddress(host: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  // The library takes ::127.0.0.1 for ::ffff:127.0.0.1, which is another address.
  return ipaddr.isValid(host) && !/^::\d+\./.test(host) ? ipaddr.process(host) : undefined;
}

function parse(address: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const bare = address.split("%", 1)[0] ?? "";
  return ipaddr.isValid(bare) ? ipaddr.parse(bare) : undefined;
}
