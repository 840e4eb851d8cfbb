// Addresses: which text is a network and which is none, what it holds, and what counts as one source; which hosts are this
// machine, and which spellings one server.

import { describe, expect, test } from "bun:test";
import {
  formatAddress,
  formatServer,
  isLoopback,
  lacksZone,
  lookupName,
  Cidr,
  peerNotation,
  plainAddress,
  respellServer,
  sourceOf,
} from "../../src/base/address.ts";

describe("a network", () => {
  test.each([
    "10.1",
    "10",
    "0x0a000001",
    "0x0a.0.0.1",
    "167772161",
    "1.2.3.4/33",
    "1.2.3.4/",
    "1.2.3.4/-1",
    "1.2.3.4/8/8",
    "1.2.3.4/255.0.0.0",
    "1.2.3.256",
    "1.2.3",
    "1.2.3.4.5",
    " 1.2.3.4",
    "1.2.3.4 ",
    "1.2.3.4\n",
    "",
    "/8",
    ":",
    ":::",
    "::/129",
    "::1%lo",
    "[::1]",
    "1::2::3",
    "12345::",
    "::g",
    "example.org",
    "localhost",
    "*",
  ])("is not %j", (text) => {
    expect(Cidr.parse(text)).toBeUndefined();
  });

  test.each([
    ["0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::1"]],
    ["10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]],
    ["10.1.2.3/8", ["10.200.0.1"], ["11.1.2.3"]],
    ["192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127", "192.0.3.128"]],
    ["192.0.2.1", ["192.0.2.1"], ["192.0.2.0", "192.0.2.2", "::c000:201"]],
    ["192.0.2.1/32", ["192.0.2.1"], ["192.0.2.0", "192.0.2.2"]],
    ["::/0", ["::", "ffff::1"], ["1.2.3.4"]],
    ["2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff::1"], ["2001:db7:ffff::", "2001:db9::"]],
    ["2001:DB8::1", ["2001:db8:0:0:0:0:0:1"], ["2001:db8::2"]],
    ["fe80::/10", ["fe80::1%eth0", "febf::1"], ["fec0::1"]],
  ])("%s has %j, and not %j", (text, inside, outside) => {
    const network = Cidr.parse(text);
    expect(inside.filter((address) => network?.has(address) !== true)).toEqual([]);
    expect(outside.filter((address) => network?.has(address) !== false)).toEqual([]);
    expect(network?.has("no address")).toBe(false);
  });
});

describe("a source", () => {
  test("is an IPv4 address itself", () => {
    expect(sourceOf("192.0.2.1")).toBe("192.0.2.1");
    expect(sourceOf("192.0.2.1")).not.toBe(sourceOf("192.0.2.2"));
  });

  test("is the /64 of an IPv6 address, however it is written", () => {
    const source = sourceOf("2001:db8:1:2::");
    for (const same of [
      "2001:db8:1:2:ffff:ffff:ffff:ffff",
      "2001:0DB8:0001:0002::1",
      "2001:db8:1:2::1%eth0",
    ]) {
      expect(sourceOf(same)).toBe(source);
    }
    expect(sourceOf("2001:db8:1:3::")).not.toBe(source);
    expect(sourceOf("2001:db8:1:1:ffff:ffff:ffff:ffff")).not.toBe(source);
    expect(Cidr.parse(source)?.has("2001:db8:1:2::5")).toBe(true);
  });

  test("is the address as it stands when it is none", () => {
    expect(sourceOf("")).toBe("");
    expect(sourceOf("no:address")).toBe("no:address");
  });
});

test("an IPv4 address of a dual-stack listener is that address", () => {
  expect(plainAddress("::ffff:192.0.2.1")).toBe("192.0.2.1");
  expect(plainAddress("::FFFF:192.0.2.1")).toBe("192.0.2.1");
  expect(plainAddress("::ffff:c000:201")).toBe("::ffff:c000:201");
  expect(plainAddress("2001:db8::ffff:1")).toBe("2001:db8::ffff:1");
});

test.each([
  ["192.0.2.1", "192.0.2.1"],
  ["::1", "::1"],
  ["2001:db8::1", "2001:db8::1"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["fe80::1%eth0", "fe80::1%eth0"],
  ["2001:DB8:0::1", "2001:db8::1"],
  ["::FFFF:192.0.2.1", "192.0.2.1"],
  ["10.1", "10.0.0.1"],
  ["abcdef", undefined],
  ["192.0.2.256", undefined],
])("a peer at %s is known as %p", (text, notation) => {
  expect(peerNotation(text)).toBe(notation);
});

test("an IPv6 address has brackets before its port", () => {
  expect(formatAddress("::1", 80)).toBe("[::1]:80");
  expect(formatAddress("127.0.0.1", 80)).toBe("127.0.0.1:80");
  expect(formatAddress("example.org", 80)).toBe("example.org:80");
});

describe("this machine alone", () => {
  test.each([
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.b.LocalHost",
    "a.localhost.",
    "127.0.0.1",
    "127.255.255.255",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0X7F000001",
    "0177.0.0.1",
    "017700000001",
    "2130706433",
    "127.000.000.001",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::0001",
    "::1%lo",
    "::ffff:127.0.0.1",
    "::FFFF:7f00:1",
  ])("is %s", (host) => expect(isLoopback(host)).toBe(true));

  // The system takes those that look like numbers for names, too.
  test.each([
    "localhost.example.org",
    "notlocalhost",
    "localhosts",
    ".localhost.org",
    "127.example.org",
    "127.0.0.08",
    "127.0.0.256",
    "127.16777216",
    "127.0xg",
    "127.0.0.1.",
    "127.0.0.1%lo",
    "128.1",
    "126.255.255.255",
    "127",
    "0",
    "0.0.0.0",
    "::",
    "::2",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "::ffff:128.0.0.1",
    "fe80::1%lo",
    "",
  ])("is not %j", (host) => expect(isLoopback(host)).toBe(false));
});

test("no name below localhost is looked up", () => {
  for (const host of ["localhost", "LOCALHOST.", "a.b.localhost"]) expect(lookupName(host)).toBe("localhost");
  for (const host of ["localhost.org", "127.1", "Example.org."]) expect(lookupName(host)).toBe(host);
});

describe("a server is remembered by one spelling:", () => {
  test.each([
    ["LOCALHOST", "localhost:1"],
    ["localhost.", "localhost:1"],
    ["Example.ORG.", "example.org:1"],
    ["BÜCHER.example", "bücher.example:1"],
    [".", ".:1"],
    ["127.1", "127.0.0.1:1"],
    ["0x7f.1", "127.0.0.1:1"],
    ["::ffff:10.0.0.1", "10.0.0.1:1"],
    ["0:0:0:0:0:0:0:1", "[::1]:1"],
    ["FE80::0:1%eth0", "[fe80::1%eth0]:1"],
    ["a.localhost", "a.localhost:1"],
  ])("%s is %s", (host, server) => {
    expect(formatServer(host, 1)).toBe(server);
    expect(respellServer(formatAddress(host, 1))).toBe(server);
    expect(respellServer(server)).toBe(server);
  });

  test("and what is no server stays as it is", () => {
    for (const text of ["", "a", ":1", "a:b", "[]:1"]) expect(respellServer(text)).toBe(text);
  });
});

test("a link-local address needs its zone, and no other does", () => {
  for (const host of ["fe80::1", "FE80::a:1", "febf::1"]) expect(lacksZone(host)).toBe(true);
  for (const host of ["fe80::1%eth0", "::1", "169.254.0.1", "::ffff:169.254.0.1", "fe80.org", "fec0::1"])
    expect(lacksZone(host)).toBe(false);
});
