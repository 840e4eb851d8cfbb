// Addresses of peers, and what counts as one source: whoever has one IPv6 address has the other 2^64 of its network.

import ipaddr from "ipaddr.js";

/** A network, as `--allow` and `--deny` take it: `10.0.0.0/8`, `2001:db8::/32`, or one address. */
export class Network {
  readonly #base: ipaddr.IPv4 | ipaddr.IPv6;
  readonly #bits: number;

  private constructor(base: ipaddr.IPv4 | ipaddr.IPv6, bits: number) {
    this.#base = base;
    this.#bits = bits;
  }

  /** Undefined when `text` is no network. */
  static parse(text: string): Network | undefined {
    // Stricter than the library, which reads 10.1, 0x0a000001 and the octal 010.0.0.1 as addresses too.
    if (
      !/^(?:(?:0|[1-9]\d*)(?:\.(?!$|\/)|(?=$|\/))){4}(?:\/\d{1,3})?$|^[\da-f:.]*:[\da-f:.]*(?:\/\d{1,3})?$/i.test(
        text,
      )
    ) {
      return undefined;
    }
    try {
      const [base, bits] = ipaddr.parseCIDR(text.includes("/") ? text : `${text}/${widthOf(text)}`);
      if (!(base instanceof ipaddr.IPv6) || !base.isIPv4MappedAddress()) return new Network(base, bits);
      // Peers are known by their plain addresses.
      return bits < 96 ? undefined : new Network(base.toIPv4Address(), bits - 96);
    } catch {
      return undefined; // the library's only way to say no
    }
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

function parse(address: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const bare = address.split("%", 1)[0] ?? "";
  return ipaddr.isValid(bare) ? ipaddr.parse(bare) : undefined;
}

function widthOf(address: string): number {
  return address.includes(":") ? 128 : 32;
}
