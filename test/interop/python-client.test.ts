// clients/python/parley.py under each Python of this machine, against the executable: what its docstrings promise, and that it
// shares tokens and known servers with `parley connect`.

import { join } from "node:path";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cuttingProxy } from "../support/cutting-proxy.ts";
import {
  addUser,
  cleanEnv,
  deadPort,
  PASSWORD,
  run as runParley,
  serve,
  type Serving,
} from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findPythons } from "../support/pythons.ts";
import { Watched } from "../support/watched.ts";

/** Cuts that a session survives: PARLEY_CUTS for more. */
const CUTS = Number(process.env["PARLEY_CUTS"] ?? 8);
setDefaultTimeout(90_000 + CUTS * 1000);

const ROOT = join(import.meta.dir, "..", "..");
const SCENES = join(import.meta.dir, "python_client.py");
const CLIENT = join(ROOT, "clients", "python", "parley.py");

const pythons = findPythons();
if (pythons.length === 0) {
  test.skip("there is no Python 3 on this machine: its tests are left out", () => {});
}

const folder = tempFolder();
const key = join(folder.path, "key");
const otherKey = join(folder.path, "other-key");
const ANN = { user: "ann", password: PASSWORD };
let plain: Serving;
let tls: Serving;
let keyed: Serving;
let keyedTls: Serving;
beforeAll(async () => {
  writeFileSync(key, `${"6b".repeat(32)}\n`, { mode: 0o600 });
  writeFileSync(otherKey, `${"5a".repeat(32)}\n`, { mode: 0o600 });
  await addUser(folder.path);
  const flags = ["--penalties", "off"];
  const data = (name: string) => {
    const path = join(folder.path, name);
    mkdirSync(path, { mode: 0o700 });
    writeFileSync(join(path, "users.json"), readFileSync(join(folder.path, "users.json")), { mode: 0o600 });
    return { data: path };
  };
  [plain, tls, keyed, keyedTls] = await Promise.all([
    serve(flags, data("plain")),
    serve([...flags, "--tls"], data("tls")),
    serve([...flags, "--key-file", key], data("keyed")),
    serve([...flags, "--key-file", key, "--tls"], data("keyed-tls")),
  ]);
});
afterAll(async () => {
  await Promise.all([plain.stop(), tls.stop(), keyed.stop(), keyedTls.stop()]);
  folder[Symbol.dispose]();
});

/** A Python that runs, with the data folder of its client. */
function start(python: string, argv: string[], data: string, env: Record<string, string> = {}) {
  const child = Bun.spawn([python, ...argv], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    env: cleanEnv(data, { PYTHONIOENCODING: "utf-8", PYTHONDONTWRITEBYTECODE: "1", ...env }),
  });
  const stdout = new Watched();
  const reading = (async () => {
    for await (const chunk of child.stdout) stdout.append(Buffer.from(chunk).toString());
    stdout.end();
  })();
  const ended = (async () => {
    const stderr = await child.stderr.text();
    await reading;
    return { code: await child.exited, stdout: stdout.text, stderr };
  })();
  return {
    stdout,
    ended,
    write(text: string) {
      void child.stdin.write(text);
      void child.stdin.end();
    },
    [Symbol.dispose]: () => child.kill("SIGKILL"),
  };
}

pythons.sort((a, b) => a.version.localeCompare(b.version, "en", { numeric: true }));
/** The oldest and the newest. */
const ends = [pythons[0], pythons.at(-1)];

describe.each(pythons)("Python $version", ({ path: python }) => {
  /** Registers a test for the oldest and the newest alone. */
  const testMore = (name: string, run: () => Promise<void>) => {
    if (ends.some((one) => one?.path === python)) test(name, run);
  };
  const scene = (name: string, port: number, options: object = ANN, data?: string) => {
    const argv = [SCENES, name, String(port), JSON.stringify(options)];
    return start(python, argv, data ?? join(tempFolder().path, "data"));
  };
  const play = async (...args: Parameters<typeof scene>) => {
    using playing = scene(...args);
    playing.write("");
    const { code, stdout, stderr } = await playing.ended;
    return `${stdout}${stderr}${code === 0 ? "" : `exit ${code}\n`}`.trimEnd();
  };
  const lines = async (address: string, stdin: string, env: Record<string, string> = {}) => {
    using using = tempFolder();
    using piping = start(python, [CLIENT, address], using.path, env);
    piping.write(stdin);
    return await piping.ended;
  };

  test("its own tests pass", async () => {
    const argv = [
      "-W",
      "error::ResourceWarning",
      "-m",
      "unittest",
      "discover",
      "-s",
      join(ROOT, "clients/python"),
    ];
    using using = tempFolder();
    using testing = start(python, argv, using.path);
    testing.write("");
    const { code, stderr } = await testing.ended;
    expect([code, stderr]).toEqual([0, expect.stringMatching(/\nRan \d{2,} tests in .*\n\nOK\n$/)]);
  });

  test("logs in, and everything comes back: texts, the longest messages, many at once", async () => {
    expect(await play("echo", plain.port)).toBe("ann echo all came back");
    expect(await play("numbers", plain.port)).toBe("all came back 0");
    expect(await play("late", plain.port)).toBe("after the time limit");
    expect(await play("unread", plain.port)).toBe("True True");
  });

  test("over TLS: trusts a pin or a known server, and no other", async () => {
    const pin = String(tls.ready["tls"]);
    using using = tempFolder();
    expect(await play("one", tls.port, { ...ANN, tls: true }, using.path)).toBe("error pin_unknown");
    const wrong = { ...ANN, pin: `sha256/${"A".repeat(43)}=` };
    expect(await play("one", tls.port, wrong, using.path)).toBe("error pin_changed");
    expect(await play("one", tls.port, { ...ANN, pin }, using.path)).toBe("ann hi True");
    // By the stored token, to the known server: for both programs.
    expect(await play("echo", tls.port, {}, using.path)).toBe("ann echo all came back");
    const { exitCode, stdout } = await runParley(["connect", tls.address, "--send", "x"], {
      data: using.path,
    });
    expect([exitCode, stdout]).toEqual([0, "x\n"]);
    expect(await play("one", tls.port, { ...ANN, tls: false }, using.path)).toBe("error tls");
    expect(await play("one", plain.port, { ...ANN, accept_new: true })).toBe("error tls");
    writeFileSync(
      join(using.path, "known-servers.json"),
      JSON.stringify({ version: 1, servers: [{ server: tls.address, pin: wrong.pin, since: "2026-01-01" }] }),
      { mode: 0o600 },
    );
    expect(await play("one", tls.port, {}, using.path)).toBe("error pin_changed");
  });

  test("shares tokens with parley connect, in both directions", async () => {
    using first = tempFolder();
    const env = { PARLEY_PASSWORD: PASSWORD };
    const told = ["connect", `ann@${plain.address}`, "--send", "x"];
    expect((await runParley(told, { data: first.path, env })).exitCode).toBe(0);
    expect(await play("one", plain.port, {}, first.path)).toBe("ann hi True");
    using second = tempFolder();
    expect(await play("one", plain.port, ANN, second.path)).toBe("ann hi True");
    const { exitCode, stdout } = await runParley(["connect", plain.address, "--send", "x"], {
      data: second.path,
    });
    expect([exitCode, stdout]).toEqual([0, "x\n"]);
  });

  testMore("and parley connect lose no token when they store theirs at the same time", async () => {
    using using = tempFolder();
    await Promise.all(
      [plain, keyed, keyedTls].flatMap((server) => {
        const isKeyed = server !== plain;
        const options = { ...ANN, ...(isKeyed ? { key } : {}), tls: server === keyedTls };
        const flags = [...(isKeyed ? ["--key-file", key] : []), ...(server === keyedTls ? ["--tls"] : [])];
        const argv = ["connect", `ann@localhost:${server.port}`, "--send", "x", ...flags];
        return [
          play("one", server.port, options, using.path).then((said) => expect(said).toBe("ann hi True")),
          runParley(argv, { data: using.path, env: { PARLEY_PASSWORD: PASSWORD } }).then(
            ({ exitCode, stderr }) => expect([exitCode, stderr]).toEqual([0, ""]),
          ),
        ];
      }),
    );
    const { tokens } = JSON.parse(readFileSync(join(using.path, "tokens.json"), "utf8")) as {
      tokens: unknown[];
    };
    expect(tokens).toHaveLength(6);
  });

  testMore("forgets a token that its server refuses, and says why a login fails", async () => {
    using using = tempFolder();
    expect(await play("one", plain.port, { ...ANN, password: "wrong horse" })).toBe("error bad_credentials");
    expect(await play("one", plain.port, {})).toBe("error no_password");
    expect(await play("one", plain.port, ANN, using.path)).toBe("ann hi True");
    const path = join(using.path, "tokens.json");
    const before = readFileSync(path, "utf8");
    // A token of the right form that the server has never issued: that of the vectors.
    const foreign = "prly_Ab3dE6gH_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4diXcE";
    writeFileSync(path, before.replace(/prly_\w+/, foreign));
    expect(await play("one", plain.port, { user: "ann" }, using.path)).toBe("error token_refused");
    expect(readFileSync(path, "utf8")).not.toContain(foreign);
    expect(await play("one", plain.port, { user: "ann", token: foreign })).toBe("error token_refused");
  });

  test("proves a shared key, on plain TCP and over TLS", async () => {
    expect(await play("echo", keyed.port, { ...ANN, key })).toBe("ann echo all came back");
    expect(await play("echo", keyedTls.port, { ...ANN, key, tls: true })).toBe("ann echo all came back");
    expect(await play("one", keyed.port, { ...ANN, key: otherKey })).toBe("error key_refused");
    expect(await play("one", keyedTls.port, { ...ANN, key: otherKey, tls: true })).toBe("error key_refused");
    expect(await play("one", plain.port, { ...ANN, key })).toBe("error key_missing");
    expect(await play("one", keyed.port)).toBe("error login_required");
  });

  test.each(["plain", "tls"] as const)(
    `resumes after each of ${CUTS} cuts, %s: nothing lost, nothing twice`,
    async (how) => {
      const server = how === "tls" ? tls : plain;
      using proxy = await cuttingProxy({
        port: server.port,
        cuts: CUTS,
        least: 3000,
        most: 9000,
        first: 6000,
        late: 0.3,
      });
      const trust = how === "tls" ? { pin: server.ready["tls"] } : {};
      const count = Math.max(1500, CUTS * 190);
      expect(await play("numbers", proxy.port, { ...ANN, ...trust, count })).toBe("all came back 0");
      expect(proxy.done).toBe(CUTS);
    },
  );

  testMore("does not come back where it was told not to", async () => {
    using proxy = await cuttingProxy({ port: plain.port });
    using waiting = scene("wait", proxy.port, { ...ANN, retry: 0 });
    await waiting.stdout.see("ready\n");
    proxy.cutAll("reset");
    expect((await waiting.ended).stdout).toBe("ready\nerror lost\n");
  });

  testMore("answers pings while the program does something else", async () => {
    using using = tempFolder();
    await addUser(using.path);
    await using server = await serve(["--keepalive", "1s"], { data: using.path });
    const pongs = Promise.withResolvers<void>();
    let count = 0;
    const tap = (direction: "up" | "down", bytes: Buffer) => {
      if (direction === "up" && bytes.includes('"pong"') && ++count === 3) pongs.resolve();
    };
    using proxy = await cuttingProxy({ port: server.port, tap });
    using idle = scene("idle", proxy.port);
    await idle.stdout.see("ready\n");
    await pongs.promise;
    idle.write("\n");
    expect(await idle.ended).toEqual({ code: 0, stdout: "ready\nstill here\n", stderr: "" });
    expect(proxy.connections).toBe(1);
  });

  testMore("says how a session ended", async () => {
    using using = tempFolder();
    await addUser(using.path);
    using dead = await deadPort();
    expect(await play("one", dead.port)).toBe("error unreachable");
    {
      await using server = await serve([], { data: using.path });
      using waiting = scene("wait", server.port);
      await waiting.stdout.see("ready\n");
      await server.stop();
      expect((await waiting.ended).stdout).toBe("ready\nerror shutting_down\n");
    }
    {
      await using server = await serve(["--to", `127.0.0.1:${dead.port}`], { data: using.path });
      expect(await play("wait", server.port)).toBe("error unreachable");
      await server.stop();
    }
    await using server = await serve(["--", "sh", "-c", "read line; echo $line; exit 3"], {
      data: using.path,
    });
    expect(await play("wait", server.port)).toBe("ready\nend 3");
    await server.stop();
  });

  test("as a program it sends lines, prints the answers, and ends as parley connect does", async () => {
    const env = { PARLEY_PASSWORD: PASSWORD };
    const text = "hello\n\nпривет, мир\n你好\nlast";
    expect(await lines(`ann@${plain.address}`, text, env)).toEqual({
      code: 0,
      stdout: `${text}\n`,
      stderr: "",
    });
    const wrong = await lines(`ann@${plain.address}`, "x\n", { PARLEY_PASSWORD: "wrong horse" });
    expect(wrong).toEqual({ code: 3, stdout: "", stderr: "parley: wrong user name or password\n" });
    using dead = await deadPort();
    expect((await lines(`ann@127.0.0.1:${dead.port}`, "x\n", env)).code).toBe(1);
    expect((await lines("nonsense", "")).code).toBe(2);
    expect((await lines(`ann@${plain.address}`, `${"x".repeat(1024 * 1024 + 1)}\n`, env)).code).toBe(1);
  });

  test("bare frames: with parley serve --bare, and as the server of parley connect --bare", async () => {
    using using = tempFolder();
    await using open = await serve(["--bare"], { data: using.path });
    expect(await play("bare", open.port)).toBe("all came back None");
    expect(await play("glued", open.port)).toBe("all came back");
    await using closed = await serve(["--bare", "--key-file", key], { data: using.path });
    expect(await play("bare", closed.port, { key })).toBe("all came back None");
    using server = scene("serve", 0);
    await server.stdout.see("\n");
    const address = `127.0.0.1:${server.stdout.text.trim()}`;
    const told = await Promise.all(
      [1, 2, 3].map((n) => runParley(["connect", address, "--bare"], { stdin: `a${n}\nпривет\n` })),
    );
    expect(told.map(({ stdout }) => stdout)).toEqual([1, 2, 3].map((n) => `A${n}\nПРИВЕТ\n`));
    await open.stop();
    await closed.stop();
  });
});
