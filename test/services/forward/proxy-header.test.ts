// The header of PROXY protocol v2, read back by the words of its specification.

import { expect, test } from "bun:test";
import { proxyHeader } from "../../../src/services/forward/proxy-header.ts";
import { parseProxyHeader } from "../../support/proxy-header.ts";

test("IPv4, with the user's name", () => {
  const header = proxyHeader({ peer: "192.0.2.7:40000", local: "198.51.100.1:13131", user: "zoë" });
  expect(parseProxyHeader(header)).toEqual({
    family: "TCP4",
    source: "192.0.2.7",
    sourcePort: 40000,
    destination: "198.51.100.1",
    destinationPort: 13131,
    entries: [{ type: 0xe0, value: "zoë" }],
    length: header.length,
  });
});

test("its bytes, one by one", () => {
  const header = proxyHeader({ peer: "192.0.2.7:40000", local: "198.51.100.1:13131", user: "ann" });
  expect(header.toString("hex")).toBe(
    "0d0a0d0a000d0a515549540a" + "2111" + "0012" + "c0000207" + "c6336401" + "9c40" + "334b" + "e00003616e6e",
  );
});

test("IPv6, without a user, and without the zone", () => {
  const header = proxyHeader({ peer: "[fe80::1%eth0]:1", local: "[2001:db8::2]:65535", user: null });
  expect(parseProxyHeader(header)).toEqual({
    family: "TCP6",
    source: "fe80:0:0:0:0:0:0:1",
    sourcePort: 1,
    destination: "2001:db8:0:0:0:0:0:2",
    destinationPort: 65535,
    entries: [],
    length: header.length,
  });
});

test("of two families, the IPv4 address is mapped", () => {
  const header = proxyHeader({ peer: "192.0.2.7:1", local: "[2001:db8::2]:2", user: null });
  expect(parseProxyHeader(header)).toMatchObject({
    family: "TCP6",
    source: "0:0:0:0:0:ffff:c000:207",
    destination: "2001:db8:0:0:0:0:0:2",
  });
});

test("a connection that is closed already has no addresses", () => {
  const header = proxyHeader({ peer: "192.0.2.7:1", local: undefined, user: "ann" });
  expect(parseProxyHeader(header)).toEqual({
    family: "UNSPEC",
    entries: [{ type: 0xe0, value: "ann" }],
    length: header.length,
  });
});
