// parley serve --config: the executable with a configuration file.

import { chmodSync, existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../../support/attack.ts";
import { CHEAP, run, serve, start } from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
let etc: string;
let file: string;
beforeEach(() => {
  folder = tempFolder();
  etc = join(folder.path, "etc");
  mkdirSync(etc);
  file = join(etc, "parley.toml");
});
afterEach(() => folder[Symbol.dispose]());

const write = (...lines: string[]) => writeFileSync(file, `${lines.join("\n")}\n`);
const ask = async (address: string, text = "hi") =>
  (await run(["connect", address, "--send", text])).stdout.trimEnd();

describe("a server is as the file says", () => {
  test("also with everything in it; its paths are relative to its folder", async () => {
    write("port = 0", 'auth = "none"', 'service = "upper"', "json = true", 'data = "data"', 'log = "p.log"');
    await using server = start(["serve", "--config", join("etc", "parley.toml")], { cwd: folder.path });
    await server.stdout.see("\n");
    const ready = JSON.parse(server.stdout.text) as { port: number; auth: string; service: string };
    expect(ready).toMatchObject({ event: "listening", auth: "none", service: "upper" });
    expect(await ask(`127.0.0.1:${ready.port}`)).toBe("HI");
    expect([existsSync(join(etc, "data")), existsSync(join(etc, "p.log"))]).toEqual([true, true]);
    server.signal("SIGTERM");
    expect(await server.exited).toBe(0);
  });

  test("with a program beside it", async () => {
    writeFileSync(join(etc, "twice.sh"), '#!/bin/sh\nwhile read -r line; do echo "$1 $line $line"; done\n', {
      mode: 0o755,
    });
    write('auth = "none"', 'program = ["./twice.sh", "ok"]');
    await using server = await serve(["--config", file]);
    expect(await ask(server.address)).toBe("ok hi hi");
    await server.stop();
  });

  test("unless the command line says otherwise", async () => {
    write('auth = "password"', 'program = ["wc", "-l"]', 'allow = ["192.0.2.0/24"]', "tls = true");
    const flags = ["--config", file, "--auth", "none", "--allow", "127.0.0.0/8", "--no-tls", "--", "cat"];
    await using server = await serve(flags);
    expect(server.ready).toMatchObject({ auth: "none", service: "cat", tls: null });
    expect(await ask(server.address)).toBe("hi");
    await server.stop();
  });

  test("and stays so after HUP, which does not read the file again", async () => {
    const log = join(etc, "p.log");
    write('auth = "none"', 'service = "upper"', 'log = "p.log"');
    await using server = await serve(["--config", file]);
    write("this is no TOML");
    renameSync(log, `${log}.1`);
    server.signal("SIGHUP");
    await until("the log is opened again", true, () => existsSync(log));
    expect(await ask(server.address)).toBe("HI");
    await server.stop();
  });
});

describe("with 2 ends", () => {
  test.each<[string, string, string | undefined]>([
    ["prot = 1", "FILE: unknown key prot", "did you mean port?"],
    ["port = yes", 'FILE:1: Strings must be quoted: "yes"', undefined],
    ["port = 65536", 'FILE: port: invalid port "65536"', undefined],
    ['keepalive = "5x"', "FILE: keepalive: ", undefined],
    ['auth = "pasword"', 'FILE: auth: invalid value "pasword"', undefined],
    ['config = "x.toml"', "FILE: a configuration file cannot name another one", undefined],
    ["watch = true", "FILE: watch requires --handler", undefined],
  ])("%j, also a check", async (toml, message, hint) => {
    write(toml);
    const data = join(folder.path, "data");
    for (const more of [[], ["--check"]]) {
      const { exitCode, stdout, stderr } = await run(["serve", "--config", file, ...more], { data });
      expect([exitCode, stdout]).toEqual([2, ""]);
      expect(stderr).toStartWith(`parley: error: ${message.replace("FILE", file)}`);
      if (hint !== undefined) expect(stderr).toContain(`parley: hint: ${hint}\n`);
    }
    expect(existsSync(data)).toBe(false); // nothing was done
  });

  test("a file that is not there", async () => {
    const { exitCode, stderr } = await run(["serve", "--config", file]);
    expect([exitCode, stderr]).toEqual([
      2,
      `parley: error: --config: cannot read ${file}: there is no such file\n`,
    ]);
  });
});

test("a check of a file that is right ends with 0, and starts no server", async () => {
  write("port = 0", 'auth = "none"', 'allow = ["10.0.0.0/8"]');
  const { exitCode, stdout } = await run(["serve", "--config", file, "--check", ...CHEAP]);
  expect([exitCode, stdout]).toEqual([0, ""]);
});

test("json = true makes events of errors", async () => {
  write("json = true", 'handler = "none.ts"');
  const { exitCode, stdout } = await run(["serve", "--config", file]);
  expect(JSON.parse(stdout)).toMatchObject({ event: "error", code: "handler" });
  expect(exitCode).toBe(1);
});

test("a file that other users could change is refused: it may name a program", async () => {
  write("port = 0", 'program = ["id"]');
  chmodSync(file, 0o666);
  const { exitCode, stderr } = await run(["serve", "--config", file, "--check"]);
  expect([exitCode, stderr]).toEqual([
    2,
    `parley: error: --config: ${file} has mode 666: other users could change it
parley: hint: remove their right to write: chmod go-w ${file}
`,
  ]);
});
