// parley serve -- PROGRAM: its environment, exit statuses, many bytes in the clear and over TLS, and bad programs.

import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { until, within } from "../../support/attack.ts";
import { addUser, PASSWORD, run, serve, start, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { lacks } from "../../support/privileges.ts";
import { childrenOf } from "../../support/program.ts";

setDefaultTimeout(90_000);

describe("the environment", () => {
  const SECRETS = { SECRET: "s", AWS_KEY: "k", NODE_ENV: "x", NOTIFY_SOCKET: "", LISTEN_PID: "1", TZ: "UTC" };

  test("is who the client is and what is harmless, nothing else of the server's", async () => {
    using folder = tempFolder();
    await addUser(folder.path);
    await using server = await serve(["--", "env"], { data: folder.path, env: SECRETS });
    const { stdout, exitCode } = await run(["connect", `ann@${server.address}`], {
      env: { PARLEY_PASSWORD: PASSWORD },
    });
    expect(exitCode).toBe(0);
    const variables = Object.fromEntries(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split("=", 2)),
    );
    expect(Object.keys(variables).sort()).toEqual([
      "HOME",
      "PARLEY_REMOTE_ADDR",
      "PARLEY_REMOTE_PORT",
      "PARLEY_RUN",
      "PARLEY_SERVICE",
      "PARLEY_SESSION",
      "PARLEY_TAGS",
      "PARLEY_USER",
      "PATH",
      "TZ",
    ]);
    expect(variables).toMatchObject({
      PARLEY_USER: "ann",
      PARLEY_TAGS: "",
      PARLEY_SESSION: "1",
      PARLEY_REMOTE_ADDR: "127.0.0.1",
      PARLEY_SERVICE: "env",
    });
    expect(Number(variables["PARLEY_REMOTE_PORT"])).toBeGreaterThan(1023);
    await server.stop();
  });

  test("--pass-env adds what it names, but nothing that makes Bun run other code, and no false PARLEY_USER", async () => {
    using folder = tempFolder();
    const preload = join(folder.path, "preload.ts");
    writeFileSync(preload, "");
    const env = {
      ...SECRETS,
      BUN_OPTIONS: `--preload ${preload}`,
      PARLEY_USER: "root",
      PARLEY_REMOTE_ADDR: "::1",
    };
    const names = [
      "SECRET",
      "BUN_OPTIONS",
      "BUN_BE_BUN",
      "PARLEY_USER",
      "PARLEY_REMOTE_ADDR",
      "NO_SUCH_THING",
    ];
    const flags = names.flatMap((name) => ["--pass-env", name]);
    await using server = await serve(["--auth", "none", ...flags, "--", "env"], { env });
    const { stdout } = await run(["connect", server.address]);
    const lines = stdout.trim().split("\n");
    expect(lines).toContain("SECRET=s");
    expect(lines).toContain("PARLEY_REMOTE_ADDR=127.0.0.1");
    expect(stdout).not.toMatch(/BUN_|NO_SUCH_THING|AWS_KEY|PARLEY_USER=root/);
    await server.stop();
  });
});

describe.each([
  ["on pipes", []],
  ["on a terminal", ["--pty"]],
])("what it is started with, %s:", (_, flags) => {
  /** What `script` says in a program of a server that a shell has started after `before`. */
  async function said(script: string, before: string): Promise<string[]> {
    const prefix = ["sh", "-c", `${before}; exec "$@"`, "sh"];
    await using server = await serve(["--auth", "none", ...flags, "--", "sh", "-c", script], { prefix });
    const { stdout } = await within("the program's end", run(["connect", server.address]));
    const own = readFileSync(`/proc/${server.pid}/status`, "utf8");
    expect(own).toMatch(/^Umask:\s+0077$/m); // the server has its own again
    const [, soft, hard] = /open files\s+(\d+)\s+(\d+)/.exec(limitsOf(server.pid)) ?? [];
    expect(soft).toBe(hard as string);
    await server.stop();
    return stdout.trim().split(/\r?\n/);
  }
  const limitsOf = (pid: number) => readFileSync(`/proc/${pid}/limits`, "utf8");
  const LIMITS = "umask; ulimit -Sn; ulimit -Hn";

  test.each([
    ["umask 027; ulimit -Sn 2000; ulimit -Hn 4000", ["0027", "1024", "4000"]],
    ["umask 002; ulimit -Sn 512; ulimit -Hn 1500", ["0002", "1024", "1500"]],
    ["umask 077; ulimit -Sn 700; ulimit -Hn 800", ["0077", "800", "800"]],
  ])(
    "the umask of the server's start and the usual soft limit of descriptors: %s",
    async (before, limits) => {
      expect(await said(LIMITS, before)).toEqual(limits);
    },
  );

  test("no signal that is ignored or blocked: a writer dies of its closed pipe", async () => {
    const script =
      "grep -E '^Sig(Blk|Ign)' /proc/self/status; { { yes; echo $? >&3; } | head -n 1 >&2; } 3>&1 2>/dev/null";
    const none = "0".repeat(16);
    const lines = await said(script, "trap '' PIPE INT QUIT HUP USR1");
    expect(lines).toEqual([`SigBlk:\t${none}`, `SigIgn:\t${none}`, String(128 + 13)]);
  });

  test("a server that was started with SIGCHLD ignored notices its end nevertheless", async () => {
    expect(await said("echo said", 'set -- env --ignore-signal=CHLD "$@"')).toEqual(["said"]);
  });

  test("no descriptor that the server has from its starter", async () => {
    const lines = await said('ls -1 "/proc/$$/fd"; :', "exec 7</dev/null 8>&1");
    expect(lines).toEqual(["0", "1", "2"]);
  });
});

test("a program that fails is said to the client, whose exit code is 0 without --exit-status", async () => {
  await using server = await serve(["--auth", "none", "--", "sh", "-c", "exit 3"]);
  expect(await run(["connect", server.address])).toMatchObject({
    exitCode: 0,
    stderr: "the program ended with status 3\n",
  });
});

describe.skipIf(lacks("unshare"))("as process 1 of a container", () => {
  /** Its process among those of this machine. */
  const processOf = (server: Serving) => childrenOf(server.pid)[0] ?? NaN;

  function serveAlone(script: string, ...words: string[]): Promise<Serving> {
    const prefix = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    return serve(["--auth", "none", "--", "sh", "-c", script, "sh", ...words], { prefix });
  }

  async function stop(server: Serving): Promise<void> {
    process.kill(processOf(server), "SIGTERM");
    expect(await server.exited).toBe(0);
  }

  test("it reaps what programs leave behind, once that has ended", async () => {
    using folder = tempFolder();
    const fifo = join(folder.path, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    // With an environment of its own it is not known as the program's, and goes on.
    const script = `env -i setsid cat "$1" </dev/null >/dev/null 2>&1 & exit 3`;
    await using server = await serveAlone(script, fifo);
    const leftBehind = () => childrenOf(processOf(server)).length;
    expect(await run(["connect", server.address, "--exit-status"])).toMatchObject({ exitCode: 3 });
    await until("processes left behind", 1, leftBehind);
    writeFileSync(fifo, "the end\n");
    await until("processes left behind", 0, leftBehind);
    await stop(server);
  });

  test("it takes no exit status away from a program that ends at the same time", async () => {
    await using server = await serveAlone(
      "for i in 1 2 3 4 5 6 7 8; do setsid true & done; read -r status; exit $status",
    );
    const statuses = Array.from({ length: 16 }, (_, index) => index + 10);
    const exits = statuses.map(async (status) => {
      const { exitCode } = await run(["connect", server.address, "--exit-status", "--send", String(status)]);
      return exitCode;
    });
    expect(await Promise.all(exits)).toEqual(statuses);
    await until("processes left behind", [], () => childrenOf(processOf(server)));
    await stop(server);
  });

  test("what is left of a program's group is ended with its conversation, and reaped", async () => {
    await using server = await serveAlone("sleep 1000 >/dev/null 2>&1 & echo said");
    expect(await run(["connect", server.address])).toMatchObject({ exitCode: 0, stdout: "said\n" });
    await until("processes left behind", [], () => childrenOf(processOf(server)));
    await stop(server);
  });
});

describe("connect --exit-status", () => {
  test.each([
    ["exit 0", 0],
    ["exit 3", 3],
    ["kill -KILL $$", 137],
    ["kill -TERM $$", 143],
  ])("%s: %i, and 0 without the flag", async (script, status) => {
    await using server = await serve(["--auth", "none", "--", "sh", "-c", `echo said; ${script}`]);
    const asked = await run(["connect", server.address, "--exit-status"]);
    expect(asked).toMatchObject({ exitCode: status, stdout: "said\n" });
    expect(await run(["connect", server.address])).toMatchObject({ exitCode: 0, stdout: "said\n" });
    await server.stop();
  });
});

test("a program that dies at once, although much is being sent, costs nothing but that", async () => {
  await using server = await serve(["--auth", "none", "--", "sh", "-c", "echo said; exit 3"]);
  const stdin = "a line of input\n".repeat(50_000);
  const { stdout, exitCode } = await run(["connect", server.address, "--exit-status"], { stdin });
  // What it did not read was never asked for: whether that is worth a 6 is the client's to say, the answer is whole.
  expect(stdout).toBe("said\n");
  expect([3, 6]).toContain(exitCode);
  await server.stop();
});

test.each([
  ["lines", ["--program-io", "lines"], []],
  ["bytes", ["--program-io", "bytes"], ["--raw"]],
  ["frames", ["--program-io", "frames"], ["--raw"]],
  ["lines over TLS", ["--program-io", "lines", "--tls"], ["--tls", "--accept-new"]],
  ["bytes over TLS", ["--program-io", "bytes", "--tls"], ["--tls", "--accept-new", "--raw"]],
])("5 MB come back the same through %s", async (_, serveFlags, connectFlags) => {
  const isLines = serveFlags.includes("lines");
  const bytes = isLines
    ? Buffer.from(
        Array.from({ length: 60_000 }, () => `${randomBytes(30).toString("hex")}ж\0\xff\n`).join(""),
      )
    : randomBytes(5_000_000);
  await using server = await serve(["--auth", "none", ...serveFlags, "--", "cat"]);
  const result = await run(["connect", server.address, ...connectFlags], { stdin: bytes });
  expect(result.exitCode).toBe(0);
  expect(Buffer.from(result.bytes).equals(bytes)).toBe(true);
  await server.stop();
});

describe("refused at start:", () => {
  test.each([
    [["--", "no-such-program-7"], "no-such-program-7"],
    [["--", "/etc/passwd"], "/etc/passwd"],
    [["--", "./nowhere"], "./nowhere"],
    [["--"], "--"],
    [["--pty"], "--pty"],
    [["--pass-env", "X"], "--pass-env"],
    [["--program-io", "lines"], "--program-io"],
    [["--program-io", "chars", "--", "cat"], "chars"],
    [["--program-stderr", "none", "--", "cat"], "none"],
    [["--service", "echo", "--", "cat"], "cannot be used together"],
    [["--handler", "x.ts", "--", "cat"], "cannot be used together"],
  ])("%j", async (argv, named) => {
    const { exitCode, stderr, stdout } = await run(["serve", "--auth", "none", "--port", "0", ...argv]);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toStartWith("parley: error: ");
    expect(stderr).toContain(named);
  });
});

test("its standard error goes to the log, escaped, and a client sees it only if it is to", async () => {
  const script = "printf 'a\\033]0;x\\007 b=1\\n' >&2; echo out";
  using folder = tempFolder();
  await using server = await serve(["--auth", "none", "--", "sh", "-c", script], { data: folder.path });
  expect(await run(["connect", server.address])).toMatchObject({ stdout: "out\n", stderr: "" });
  await server.stop();
  const line = readFileSync(join(folder.path, "parley.log"), "utf8")
    .split("\n")
    .find((one) => one.includes("program-stderr"));
  expect(line).toContain("]0;x");
  // oxlint-disable-next-line no-control-regex
  expect(line).not.toMatch(/[\u0000-\u001f]/);
  await using both = await serve(["--auth", "none", "--program-stderr", "both", "--", "sh", "-c", script]);
  const seen = await run(["connect", both.address]);
  expect(seen.stdout).toBe("out\n");
  expect(seen.stderr).toContain("]0;x");
  expect(seen.stderr).not.toContain("\u001b");
  await both.stop();
});

test("a client that ends its input gets what comes a long while after", async () => {
  using folder = tempFolder();
  const fifo = join(folder.path, "fifo");
  Bun.spawnSync(["mkfifo", fifo]);
  await using server = await serve([
    "--auth",
    "none",
    "--",
    "sh",
    "-c",
    'cat; echo ended; cat "$1"; exit 5',
    "sh",
    fifo,
  ]);
  await using client = start(["connect", server.address, "--exit-status"]);
  client.write("line\nno newline");
  client.endInput();
  await client.stdout.see("line\nno newline\nended\n");
  writeFileSync(fifo, "late\n");
  expect(await client.exited).toBe(5);
  expect(client.stdout.text).toBe("line\nno newline\nended\nlate\n");
  await server.stop();
});

test.each([
  ["a line over --max-frame", ["--max-frame", "1kb"], "echo a; head -c 2000 /dev/zero; exec sleep 1000"],
  [
    "a frame that is over --max-frame",
    ["--max-frame", "1kb", "--program-io", "frames"],
    "printf '\\0\\0\\0\\1a\\0\\0\\020\\0'",
  ],
  ["an end inside a frame", ["--program-io", "frames"], "printf '\\0\\0\\0\\1a\\0\\0\\0\\5ab'"],
])("%s of a program's is cut off: an error here, and a line in the log there", async (_, flags, script) => {
  using own = tempFolder();
  const argv = ["--auth", "none", ...flags, "--", "sh", "-c", script];
  await using cutting = await serve(argv, { data: own.path });
  const { exitCode, stdout, stderr } = await run(["connect", cutting.address, "--exit-status"]);
  expect([exitCode, stdout]).toEqual([1, "a\n"]);
  expect(stderr).toMatch(
    /^parley: error: the server ended the session: the program's output was cut off: .*\n(?:parley: hint: .*\n)?$/,
  );
  await cutting.stop();
  const log = readFileSync(join(own.path, "parley.log"), "utf8");
  expect(log).toMatch(/ error service-failed .*the program's output was cut off: /);
});
