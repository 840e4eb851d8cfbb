// What --store takes, in every form, and what it refuses without showing a password.

import { describe, expect, test } from "bun:test";
import { ParleyError } from "../../src/base/errors.ts";
import { parseStoreUrl } from "../../src/engine/store-url.ts";

const tcp = (host: string, port: number) => ({ kind: "tcp" as const, host, port });

describe("the URL of a store", () => {
  test("has host, port and database", () => {
    expect(parseStoreUrl("redis://example.org:7000/3")).toEqual({
      shown: "redis://example.org:7000/3",
      user: undefined,
      tls: false,
      db: 3,
      at: tcp("example.org", 7000),
    });
  });

  test("with TLS, has a user", () => {
    expect(parseStoreUrl("rediss://p%40rley@example.org")).toEqual({
      shown: "rediss://p%40rley@example.org:6379",
      user: "p@rley",
      tls: true,
      db: 0,
      at: tcp("example.org", 6379),
    });
  });

  test("of a unix socket has a path", () => {
    expect(parseStoreUrl("redis+unix:///run/redis/redis.sock?db=2")).toEqual({
      shown: "redis+unix:///run/redis/redis.sock?db=2",
      user: undefined,
      tls: false,
      db: 2,
      at: { kind: "unix", path: "/run/redis/redis.sock" },
    });
    expect(parseStoreUrl("redis+unix://parley@/run/r.sock").user).toBe("parley");
  });

  test("of sentinels has their addresses and the name of the master", () => {
    expect(parseStoreUrl("rediss+sentinel://parley@s1:26379,[::1]:26380/mymaster/1")).toEqual({
      shown: "rediss+sentinel://parley@s1:26379,[::1]:26380/mymaster/1",
      user: "parley",
      tls: true,
      db: 1,
      at: { kind: "sentinel", addresses: [tcp("s1", 26379), tcp("::1", 26380)], master: "mymaster" },
    });
    expect(parseStoreUrl("redis+sentinel://a:1/m").shown).toBe("redis+sentinel://a:1/m");
  });

  test("has one normal form", () => {
    for (const form of [
      "redis://Example.ORG",
      "REDIS://example.org.:6379",
      "redis://example.org/",
      "redis://example.org/0",
    ])
      expect(parseStoreUrl(form).shown).toBe("redis://example.org:6379");
    expect(parseStoreUrl("redis://[0:0::1]:6379/00").shown).toBe("redis://[::1]:6379");
    expect(parseStoreUrl("redis://127.1").shown).toBe("redis://127.0.0.1:6379");
  });

  test("with a password is refused, and the password is not shown", () => {
    for (const url of [
      "redis://:s3cret@host",
      "redis://user:s3cret@host:99999/x?y",
      "rediss://user:@host",
      "redis+sentinel://u:s3cret@a:1,b:2/m",
      "redis+unix://u:s3cret@/path",
      "redis://u:s3cr@et@host",
      "nothing://u:s3cret@host",
    ]) {
      const error = failure(url);
      expect(error.message).toBe("--store: a password does not belong in the URL");
      expect(error.hint).toContain("--store-password-file");
    }
  });

  test.each([
    ["redis:/u:s3cret@host"],
    ["u:s3cret@host:6379"],
    ["redis:///u:s3cret@host"],
    ["redis://host/u:s3cret@"],
    ["redis://u/s3cret@host"],
    ["redis://us3cret @host"],
  ])("that is no URL (%s) shows nothing that could be a password", (url) => {
    const { message, hint } = failure(url);
    expect(`${message} ${hint}`).not.toContain("s3cret");
  });

  test.each([
    ["", "URL"],
    ["localhost:6379", "URL"],
    ["http://localhost", "URL"],
    ["redis:localhost", "URL"],
    ["redis://", "host"],
    ["redis://:6379", "host"],
    ["redis://@host", "user"],
    ["redis://%zz@host", "user"],
    ["redis://a%20b@host", "user"],
    ["redis://ho st", "host"],
    ["redis://a..b", "host"],
    ["redis://::1", "host"],
    ["redis://[::1", "host"],
    ["redis://[127.0.0.1]", "host"],
    ["redis://[fe80::1%eth0]", "host"],
    ["redis://a,b", "host"],
    ["redis://host:", "port"],
    ["redis://host:0", "port"],
    ["redis://host:65536", "port"],
    ["redis://host:x", "host"],
    ["redis://host/x", "database"],
    ["redis://host/-1", "database"],
    ["redis://host/1/2", "database"],
    ["redis://host/1234567890", "database"],
    ["redis://host?timeout=1", "URL"],
    ["redis://host/0?db=1", "URL"],
    ["redis://host#x", "URL"],
    ["redis+unix://run/redis.sock", "path"],
    ["redis+unix://", "path"],
    ["redis+unix:///", "path"],
    ["redis+unix:///a/../b", "path"],
    ["redis+unix:///a b", "path"],
    ["redis+unix:///a%20b", "path"],
    ["redis+unix:///a?db=", "database"],
    ["redis+unix:///a?x=1", "URL"],
    ["redis+sentinel://a/m", "address of a sentinel"],
    ["redis+sentinel://a:1,/m", "address of a sentinel"],
    ["redis+sentinel://a:1", "name of a master"],
    ["redis+sentinel://a:1/", "name of a master"],
    ["redis+sentinel://a:1/m?x", "URL"],
    ["redis+sentinel://a:1/m/x", "database"],
  ])("%s is refused for its %s", (url, noun) => {
    const error = failure(url);
    expect(error.message).toStartWith(`--store: invalid ${noun} in "`);
    expect(error.hint).toBeString();
  });
});

function failure(url: string): ParleyError {
  try {
    parseStoreUrl(url);
  } catch (error) {
    if (error instanceof ParleyError && error.code === "usage") return error;
    throw error;
  }
  throw new Error(`${url} is taken`);
}
