// Programs that know nothing of parley: Erlang's gen_tcp, which speaks bare frames by itself, and ncat and socat, which
// pass on whatever bytes they are given.

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { run, serve, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";

setDefaultTimeout(90_000);

let bare: Serving;
let open: Serving;
const folder = tempFolder();
beforeAll(async () => {
  [bare, open] = await Promise.all([serve(["--bare"]), serve(["--auth", "none"])]);
});
afterAll(async () => {
  await bare.stop();
  await open.stop();
  folder[Symbol.dispose]();
});

/** Is there such a program? Otherwise its tests are left out, and that is said. */
function have(program: string): boolean {
  const found = Bun.which(program) !== null;
  if (!found) test.skip(`there is no ${program} on this machine: its tests are left out`, () => {});
  return found;
}

describe.if(have("erl"))("Erlang's {packet, 4}", () => {
  const erlang = (...argv: string[]) =>
    Bun.spawn(
      ["erl", "-noshell", "-pa", folder.path, "-run", "packet4", "main", ...argv, "-s", "erlang", "halt"],
      {
        cwd: folder.path, // where it leaves a dump when it crashes
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
        timeout: 80_000,
      },
    );

  beforeAll(() => {
    const source = join(import.meta.dir, "packet4.erl");
    const { exitCode, stdout } = Bun.spawnSync([
      "erl",
      "-noshell",
      "-eval",
      `case compile:file("${source}", [{outdir, "${folder.path}"}, report]) of {ok, _} -> halt(0); _ -> halt(1) end.`,
    ]);
    if (exitCode !== 0) throw new Error(stdout.toString());
  });

  test.each([
    ["holds a conversation in bare frames", "client", () => bare],
    ["takes hello, logs in and talks", "login", () => open],
  ])("%s", async (_, role, server) => {
    const peer = erlang(role, String(server().port));
    const [stdout, stderr] = await Promise.all([peer.stdout.text(), peer.stderr.text()]);
    expect([stdout, stderr]).toEqual(["all came back\n", ""]);
  });

  test("is talked to by connect --bare", async () => {
    const peer = erlang("server");
    const output = peer.stdout.getReader();
    const decoder = new TextDecoder();
    const port = decoder.decode((await output.read()).value).trim();
    const lines = `one\n\n${"long".repeat(20_000)}\n`;
    const { exitCode, stdout, stderr } = await run(
      ["connect", "--bare", `127.0.0.1:${port}`, "--count", "3"],
      {
        stdin: lines,
      },
    );
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toBe(`eno\n\n${"gnol".repeat(20_000)}\n`);
    expect(decoder.decode((await output.read()).value)).toBe("gone\n");
  });
});

describe.each(
  [
    ["ncat", (port: number) => ["ncat", "127.0.0.1", String(port)]],
    ["socat", (port: number) => ["socat", "-t20", "-", `TCP4:127.0.0.1:${port}`]],
  ].filter(([program]) => have(program as string)) as [string, (port: number) => string[]][],
)("%s", (_, command) => {
  test("sends a frame and gets it back, byte for byte, after it has ended its side", async () => {
    const frames = Buffer.from("00000002686900000000000000045c000d0a", "hex");
    const child = Bun.spawn(command(bare.port), {
      stdin: frames,
      stdout: "pipe",
      stderr: "inherit",
      timeout: 80_000,
    });
    expect(Buffer.from(await child.stdout.bytes()).toString("hex")).toBe(frames.toString("hex"));
    expect(await child.exited).toBe(0);
  });
});
