// The header of PROXY protocol version 2 (binary): who the client of a forwarded connection is, for the log of the target.
// https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, section 2.2

import ipaddr from "ipaddr.js";
import { addressOf, portOf } from "../../base/address.ts";

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
/** Version 2, command PROXY. */
const PROXY = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
const UNSPECIFIED = 0x00;
/** The first type of those that are free for an application: the user's name, as UTF-8. */
export const USER_TYPE = 0xe0;

export interface ProxiedClient {
  /** The client, as `address:port`. */
  peer: string;
  /** The server's own end of that connection, as `address:port`; undefined where it is not known any more. */
  local: string | undefined;
  user: string | null;
}

/** The bytes that come before everything else. */
export function proxyHeader({ peer, local, user }: ProxiedClient): Buffer {
  const { family, bytes } = addresses(peer, local);
  const parts = [bytes];
  if (user !== null) parts.push(entry(USER_TYPE, Buffer.from(user)));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([SIGNATURE, Buffer.of(PROXY, family), uint16(length), ...parts]);
}

function addresses(peer: string, local: string | undefined): { family: number; bytes: Buffer } {
  if (local === undefined) return { family: UNSPECIFIED, bytes: Buffer.alloc(0) };
  const both = [peer, local].map((text) => ipaddr.process(stripZone(addressOf(text))));
  const isIpv4 = both.every((address) => address.kind() === "ipv4");
  const bytes = both.map((address) => {
    const isMapped = !isIpv4 && address instanceof ipaddr.IPv4;
    return Buffer.from((isMapped ? address.toIPv4MappedAddress() : address).toByteArray());
  });
  const ports = [peer, local].map((text) => uint16(portOf(text)));
  return { family: isIpv4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6, bytes: Buffer.concat([...bytes, ...ports]) };
}

/** An interface of this machine means nothing to the target. */
function stripZone(address: string): string {
  return address.replace(/%.*$/, "");
}

/** A type, a length, and a value. */
function entry(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.of(type), uint16(value.length), value]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
