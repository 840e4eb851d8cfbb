// parley serve --to, with targets and clients of others: socat, redis, curl, openssl, haproxy. `connect --raw` is the other end.

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, connect, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cuttingProxy } from "../../support/cutting-proxy.ts";
import {
  addUser,
  deadPort,
  EXECUTABLE,
  PASSWORD,
  portForLater,
  run,
  serve,
  shell,
  start,
} from "../../support/executable.ts";
import { until } from "../../support/attack.ts";
import { Screen } from "../../support/screen.ts";
import { tempFolder } from "../../support/folder.ts";
import { lacksTools } from "../../support/privileges.ts";

setDefaultTimeout(90_000);

const MIB = 1024 * 1024;
const folder = tempFolder();
afterAll(() => folder[Symbol.dispose]());
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts a program, and ends it with the test. */
function startTool(...words: string[]) {
  const child = Bun.spawn(words, { stdin: "ignore", stdout: "pipe", stderr: "ignore", cwd: folder.path });
  cleanups.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  return child;
}

/** Starts a program that listens at `port` for more than one connection, and waits until it does. */
async function startListener(port: number, ...words: string[]): Promise<void> {
  startTool(...words);
  await until(`a listener: ${words[0]}`, true, () => accepts({ port, host: "127.0.0.1" }));
}

function accepts(where: { port: number; host: string } | { path: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(where, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** A target of socat that runs `program` for each connection. */
async function socatTarget(program: string): Promise<number> {
  const port = portForLater();
  const listen = `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork`;
  await startListener(port, "socat", "-t", "60", listen, `EXEC:${program}`);
  return port;
}

/** A target of this process: `accepted` gets each connection. */
async function ownTarget(accepted: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    cleanups.push(() => socket.destroy());
    accepted(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function forwarding(to: string | number, ...flags: string[]) {
  const where = typeof to === "number" ? `127.0.0.1:${to}` : to;
  const auth = flags.includes("--auth") ? [] : ["--auth", "none"];
  const data = join(folder.path, randomBytes(4).toString("hex"));
  const server = await serve(["--to", where, ...auth, "--drain", "1s", ...flags], { data });
  cleanups.push(() => server[Symbol.asyncDispose]());
  return { ...server, data };
}

const raw = (address: string, stdin: string | Uint8Array, ...flags: string[]) =>
  run(["connect", address, "--raw", ...flags], { stdin });

/** A local port where socat makes each connection a `parley connect --raw`. */
async function localPort(address: string): Promise<number> {
  const port = portForLater();
  const listen = `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork`;
  const data = join(folder.path, "local");
  const command = `env PARLEY_DATA=${data} ${EXECUTABLE} connect ${address.replace(":", "\\:")} --raw`;
  await startListener(port, "socat", "-t", "60", listen, `EXEC:${command}`);
  return port;
}

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");

describe.skipIf(lacksTools("socat"))("through socat", () => {
  test("the end of the input is a FIN, and the answer comes after it", async () => {
    const server = await forwarding(await socatTarget("md5sum"));
    const sent = randomBytes(3 * MIB);
    const { stdout, stderr, exitCode } = await raw(server.address, sent);
    expect([stdout, stderr, exitCode]).toEqual([`${md5(sent)}  -\n`, "", 0]);
  });

  test("standard input and output may be one socket", async () => {
    const server = await forwarding(await ownTarget((socket) => socket.resume().end("hello\n")));
    const port = await localPort(server.address);
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    cleanups.push(() => socket.destroy());
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    await once(socket, "end");
    expect(text).toBe("hello\n");
    socket.end();
    await once(socket, "close");
  });
});

test("the end of the target's output ends standard output, while the input goes on", async () => {
  const rest = Promise.withResolvers<string>();
  const target = await ownTarget((socket) => {
    socket.end("hello\n");
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    socket.on("end", () => rest.resolve(text));
  });
  const server = await forwarding(target);
  const running = start(["connect", server.address, "--raw"]);
  cleanups.push(() => running[Symbol.asyncDispose]());
  await running.stdout.see("hello\n");
  await until("the end of standard output", true, () => running.stdout.hasEnded);
  running.write("more");
  running.endInput();
  expect([await running.exited, running.stderr.text, await rest.promise]).toEqual([0, "", "more"]);
});

describe.skipIf(lacksTools("redis-server"))("redis", () => {
  test.each(["tcp", "unix"])("over %s", async (kind) => {
    const path = join(folder.path, `redis-${kind}.sock`);
    const port = kind === "tcp" ? portForLater() : 0;
    startTool("redis-server", "--save", "", "--bind", "127.0.0.1", "--port", `${port}`, "--unixsocket", path);
    await until("redis", true, () => accepts({ path }));
    const server = await forwarding(kind === "tcp" ? port : `unix:${path}`);
    const { stdout, stderr, exitCode } = await raw(server.address, "SET key value\r\nGET key\r\nQUIT\r\n");
    expect([stdout, stderr, exitCode]).toEqual(["+OK\r\n$5\r\nvalue\r\n+OK\r\n", "", 0]);
  });
});

describe.skipIf(lacksTools("socat", "curl", "python3"))("curl", () => {
  test("gets a file twice over one connection", async () => {
    const bytes = randomBytes(5 * MIB);
    writeFileSync(join(folder.path, "file"), bytes);
    const target = portForLater();
    await startListener(
      target,
      "python3",
      "-m",
      "http.server",
      `${target}`,
      "-p",
      "HTTP/1.1",
      "--bind",
      "127.0.0.1",
      "-d",
      folder.path,
    );
    const server = await forwarding(target);
    const url = `http://127.0.0.1:${await localPort(server.address)}/file`;
    const got = await shell(`curl -sS --fail ${url} ${url} -o - -o -`);
    expect(md5(got.bytes)).toBe(md5(Buffer.concat([bytes, bytes])));
  });
});

describe.skipIf(lacksTools("socat", "openssl"))("openssl", () => {
  test("TLS of the target passes through as it is", async () => {
    const [key, certificate] = [join(folder.path, "key.pem"), join(folder.path, "cert.pem")];
    await shell(
      `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${key} -out ${certificate} -days 2 -subj /CN=target`,
    );
    const target = portForLater();
    await startListener(
      target,
      "openssl",
      "s_server",
      "-accept",
      `127.0.0.1:${target}`,
      "-key",
      key,
      "-cert",
      certificate,
      "-rev",
      "-quiet",
    );
    const server = await forwarding(target);
    const port = await localPort(server.address);
    const flags = ["-connect", `127.0.0.1:${port}`, "-CAfile", certificate, "-verify_return_error", "-quiet"];
    const client = Bun.spawn(["openssl", "s_client", ...flags], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    cleanups.push(async () => {
      client.kill("SIGKILL");
      await client.exited;
    });
    await client.stdin.write("abc\n");
    await client.stdin.flush();
    const { value } = await client.stdout.getReader().read();
    expect(Buffer.from(value ?? []).toString()).toBe("cba\n");
  });
});

describe.skipIf(lacksTools("haproxy"))("haproxy", () => {
  test("takes the PROXY header: address and user", async () => {
    const target = portForLater();
    const config = join(folder.path, "haproxy.cfg");
    writeFileSync(
      config,
      `defaults
  mode http
  timeout client 30s
frontend f
  bind 127.0.0.1:${target} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[dst_port]\\n"
`,
    );
    startTool("haproxy", "-db", "-f", config);
    await until("haproxy", true, () => accepts({ port: target, host: "127.0.0.1" }));
    const server = await forwarding(target, "--send-proxy");
    const { stdout } = await raw(server.address, "GET / HTTP/1.0\r\n\r\n");
    expect(stdout).toEndWith(`\r\n\r\n127.0.0.1 ${server.port}\n`);
  });
});

describe("what the client learns", () => {
  test("of a target that resets", async () => {
    const target = await ownTarget((socket) => socket.once("data", () => socket.resetAndDestroy()));
    const server = await forwarding(target);
    const { exitCode, stderr } = await raw(server.address, "x");
    expect(exitCode).toBe(1);
    expect(stderr).toContain("the target has reset the connection");
  });

  test("of a target that refuses", async () => {
    using dead = await deadPort();
    const server = await forwarding(dead.port);
    const { exitCode, stderr } = await raw(server.address, "");
    expect(exitCode).toBe(1);
    expect(stderr).toContain("the target refused the connection");
    expect(stderr).not.toContain(`${dead.port}`);
  });

  test.skipIf(lacksTools("python3"))("of a target that is silent", async () => {
    // A listener whose queue is full answers no SYN.
    const script = `
import socket, time
l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen(0)
held = []
for _ in range(4):
    s = socket.socket(); s.setblocking(False); s.connect_ex(l.getsockname()); held.append(s)
print(l.getsockname()[1], flush=True)
time.sleep(600)
`;
    const python = startTool("python3", "-c", script);
    const first = await python.stdout.getReader().read();
    const port = Number(Buffer.from(first.value ?? []).toString());
    const server = await forwarding(port, "--to-timeout", "300ms");
    const { exitCode, stderr } = await raw(server.address, "");
    expect(exitCode).toBe(1);
    expect(stderr).toContain("the target did not answer in time");
  });

  test("on a terminal: nothing but a sentence, before the login", async () => {
    const data = join(folder.path, "terminal");
    await addUser(data);
    using dead = await deadPort();
    const server = await serve(["--to", `127.0.0.1:${dead.port}`], { data });
    cleanups.push(() => server[Symbol.asyncDispose]());
    await using screen = new Screen(["connect", `ann@${server.address}`]);
    await screen.see("passes on bytes, and a terminal sends lines");
    expect(await screen.exited).toBe(2);
    expect(readFileSync(join(data, "parley.log"), "utf8")).not.toContain("logged-in");
  });
});

describe("what the target learns", () => {
  test("of a client that is killed: a reset, and no end", async () => {
    let hasEnded = false;
    const failed = Promise.withResolvers<string>();
    const began = Promise.withResolvers<void>();
    const target = await ownTarget((socket) => {
      socket.once("data", () => began.resolve());
      socket.on("end", () => (hasEnded = true));
      socket.on("error", (error: NodeJS.ErrnoException) => failed.resolve(error.code ?? ""));
    });
    const server = await forwarding(target);
    const client = start(["connect", server.address, "--raw"]);
    cleanups.push(() => client[Symbol.asyncDispose]());
    client.write("half of an upload");
    await began.promise;
    client.signal("SIGKILL");
    expect(await failed.promise).toBe("ECONNRESET");
    expect(hasEnded).toBe(false);
  });

  test("of a user that is removed: a reset within a second", async () => {
    const data = join(folder.path, "revoked");
    await addUser(data);
    const failed = Promise.withResolvers<void>();
    const began = Promise.withResolvers<void>();
    const target = await ownTarget((socket) => {
      socket.once("data", () => began.resolve());
      socket.on("error", () => failed.resolve());
    });
    const server = await serve(["--to", `127.0.0.1:${target}`], { data });
    cleanups.push(() => server[Symbol.asyncDispose]());
    const client = start(["connect", `ann@${server.address}`, "--raw"], {
      data,
      env: { PARLEY_PASSWORD: PASSWORD },
    });
    cleanups.push(() => client[Symbol.asyncDispose]());
    client.write("x");
    await began.promise;
    await run(["users", "remove", "ann", "--yes"], { data });
    await failed.promise;
    expect(await client.exited).toBe(5);
  });
});

test("twenty megabytes each way over a connection that is cut again and again: all identical", async () => {
  const [up, down] = [randomBytes(20 * MIB), randomBytes(20 * MIB)];
  let got: Buffer[] = [];
  const target = await ownTarget((socket) => {
    got = [];
    socket.on("data", (chunk: Buffer) => got.push(chunk));
    socket.end(down);
  });
  const server = await forwarding(target);
  using proxy = await cuttingProxy({ port: server.port, cuts: 8, least: 200_000, most: 3_000_000 });
  const { bytes, exitCode, stderr } = await raw(proxy.address, up, "--retry", "forever");
  expect([exitCode, md5(bytes), md5(Buffer.concat(got)), proxy.done]).toEqual([0, md5(down), md5(up), 8]);
  expect(stderr).not.toContain("error");
});

test("a session that is gone is the end: no new one goes on in the middle of a stream", async () => {
  const connections: Socket[] = [];
  const began = Promise.withResolvers<void>();
  const target = await ownTarget((socket) => {
    connections.push(socket);
    socket.once("data", () => began.resolve());
  });
  const port = portForLater();
  const first = await forwarding(target, "--port", `${port}`);
  const client = start(["connect", first.address, "--raw", "--retry", "forever"]);
  cleanups.push(() => client[Symbol.asyncDispose]());
  client.write("the first half");
  await began.promise;
  first.signal("SIGKILL");
  await first.exited;
  await forwarding(target, "--port", `${port}`);
  expect(await client.exited).toBe(6);
  expect(client.stderr.text).toContain("cannot resume the session");
  expect(connections).toHaveLength(1);
});

test.skipIf(process.platform !== "linux")(
  "a target that reads nothing costs the server little memory",
  async () => {
    const target = await ownTarget((socket) => socket.pause());
    const server = await forwarding(target);
    const memory = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]) / 1024;
    const before = memory();
    const client = Bun.spawn(
      [
        "bash",
        "-c",
        `head -c 300000000 /dev/zero | "$@"`,
        "bash",
        EXECUTABLE,
        "connect",
        server.address,
        "--raw",
      ],
      {
        env: { PATH: process.env["PATH"] ?? "", HOME: folder.path, PARLEY_DATA: join(folder.path, "greedy") },
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      },
    );
    cleanups.push(async () => {
      client.kill("SIGKILL");
      await client.exited;
    });
    let most = 0;
    for (let rests = 0, last = -1; rests < 40;) {
      const now = memory();
      most = Math.max(most, now);
      rests = now === last ? rests + 1 : 0;
      last = now;
      await Bun.sleep(10);
    }
    expect(most - before).toBeLessThan(64);
  },
);

describe("flags", () => {
  test("--check tries the target", async () => {
    const target = await ownTarget((socket) => socket.resume().end());
    const check = (port: number) => run(["serve", "--check", "--port", "0", "--to", `127.0.0.1:${port}`]);
    const good = await check(target);
    expect([good.exitCode, good.stderr]).toEqual([0, expect.stringContaining("accepts connections")]);
    using dead = await deadPort();
    const bad = await check(dead.port);
    expect([bad.exitCode, bad.stderr]).toEqual([
      1,
      expect.stringContaining(`cannot connect to 127.0.0.1:${dead.port}: connection refused`),
    ]);
  });

  test.each([
    [["--to", "127.0.0.1:1", "--service", "chat"], "--service and --to cannot be used together"],
    [["--to", "127.0.0.1:1", "--handler", "x.ts"], "--handler and --to cannot be used together"],
    [["--to", "127.0.0.1:1", "--", "cat"], "--to and a program cannot be used together"],
    [["--to", "127.0.0.1:1", "--pty"], "--pty requires a program"],
    [["--to", "127.0.0.1:1", "--watch"], "--watch requires --handler"],
    [["--to", "5432"], "--to: invalid HOST:PORT"],
    [["--to", "127.0.0.1:0"], "--to: invalid HOST:PORT"],
    [["--to", "unix:"], "--to: invalid HOST:PORT"],
    [["--send-proxy"], "--send-proxy requires --to"],
    [["--to-timeout", "1s"], "--to-timeout requires --to"],
    [["--to", "127.0.0.1:1", "--to-timeout", "0s"], "--to-timeout: 0s is too short"],
  ])("%p", async (flags, words) => {
    const { exitCode, stderr } = await run(["serve", ...flags]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining(words)]);
  });
});
