// parley connect --check: a line for each step, and an exit code that says which failed.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { addUser, deadPort, PASSWORD, run, serve } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

interface Line {
  step?: string;
  ok: boolean | null;
  ms?: number;
  reason?: string;
}

async function check(address: string, ...flags: string[]): Promise<{ lines: Line[]; exitCode: number }> {
  const env = { PARLEY_PASSWORD: PASSWORD };
  const { stdout, exitCode } = await run(["connect", address, "--check", "--json", ...flags], { env });
  return {
    lines: stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Line),
    exitCode,
  };
}

const names = (lines: Line[]) => lines.map(({ step }) => step);

describe("connect --check", () => {
  test("shows every step of TLS, key and login with its time", async () => {
    using folder = tempFolder();
    const key = join(folder.path, "key");
    await addUser(folder.path);
    await using server = await serve(["--tls", "--key-file", key], { data: folder.path });
    const { lines, exitCode } = await check(`ann@${server.address}`, "--tls", "--key-file", key);
    expect(exitCode).toBe(0);
    expect(names(lines)).toEqual(["tcp", "tls", "key", "hello", "login", "echo"]);
    for (const { ok, ms = -1 } of lines) expect([ok, ms >= 0]).toEqual([true, true]);
    await server.stop();
  });

  test("for a person it ticks each step off", async () => {
    await using server = await serve(["--auth", "none"]);
    const { stdout, exitCode } = await run(["connect", server.address, "--check"]);
    expect(exitCode).toBe(0);
    expect(stdout.replaceAll(/ +\d+(?:\.\d)? ms/g, "")).toBe("✔ tcp\n✔ hello\n✔ login\n✔ echo\n");
    await server.stop();
  });

  test("asks no service of which it is not known what it answers", async () => {
    await using server = await serve(["--auth", "none", "--service", "chat"]);
    const { lines, exitCode } = await check(server.address);
    expect(exitCode).toBe(0);
    expect(lines.at(-1)).toMatchObject({ step: "echo", ok: null });
    await server.stop();
  });

  test("ends at the first step that fails, with its exit code", async () => {
    using dead = await deadPort();
    const nobody = await check(`127.0.0.1:${dead.port}`);
    expect([nobody.exitCode, nobody.lines]).toMatchObject([
      1,
      [
        { step: "tcp", ok: false },
        { event: "error", code: "network" },
      ],
    ]);

    using folder = tempFolder();
    await addUser(folder.path, "ann", "another password");
    await using server = await serve([], { data: folder.path });
    const refused = await check(`ann@${server.address}`);
    expect([refused.exitCode, names(refused.lines)]).toEqual([3, ["tcp", "hello", "login", undefined]]);
    expect(refused.lines.slice(-2)).toMatchObject([
      { ok: false, reason: "login refused" },
      { event: "error", code: "login_refused", message: "login refused" },
    ]);
    await server.stop();
  });
});
