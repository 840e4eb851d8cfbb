// parley connect with flags that cannot be meant: refused before anything is dialled.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { run } from "../../support/executable.ts";

setDefaultTimeout(90_000);

describe("wrong flags end with 2 and one line that names the flag:", () => {
  const wrong: [flag: string, ...argv: string[]][] = [
    ["--count", "--count", "0"],
    ["--timeout", "--timeout", "5"],
    ["--wait", "--wait", "long"],
    ["--raw and --json", "--raw", "--json"],
    ["--check and --pty", "--pty", "--check"],
    ["--check and --trace", "--trace", "--check"],
    ["--sessions and a server", "--sessions"],
    ["--bench and --retry", "--bench", "--retry", "3"],
    ["--pty and --json", "--pty", "--json"],
    ["--retry 0 and --resend", "--retry", "0", "--resend"],
    ["--accept-new and --pin", "--accept-new", "--pin", "x"],
    ["--bare and --exit-status", "--bare", "--exit-status"],
    ["--bare takes a server without a user", "--bare", "ann@127.0.0.1:1"],
    ["--sned", "--sned", "x"],
    ["--send", "--send"],
    ["--password-stdin", "--password-stdin"],
    ["--no-tls", "--no-tls", "--tls"],
    ["--no-tls", "--no-tls", "--accept-new"],
    ["--pin", "--pin", "sha256/short"],
    ["--pin", "--pin="],
    ["--tls-ca", "--tls-ca="],
    ["--allow-md5", "--allow-md5"],
    ["70000", "127.0.0.1:70000"],
    ["a b", "a b"],
    ["unknown flag -ann", "-ann"],
    ["unknown flag -x…", "-x…"],
    ["the link-local address fe80::1 has no zone", "[fe80::1]:13131"],
    ["--send", "--forget", "--send", "x"],
    ["--logout", "--forget", "--logout"],
    ["--json", "--forget", "--json"],
    ["--forget takes a server without a user", "--forget", "ann@127.0.0.1:1"],
  ];
  test.each(wrong)("%s in %p %p", async (flag, ...argv) => {
    const target = argv.some((word) => /^[^-].*[: ]/.test(word ?? "")) ? [] : ["127.0.0.1:1"];
    const { exitCode, stderr } = await run([
      "connect",
      ...target,
      ...argv.filter((word) => word !== undefined),
    ]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^parley: error: .*\n(parley: hint: .*\n)?$/);
    expect(stderr).toContain(flag);
  });
});
