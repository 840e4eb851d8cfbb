// parley connect --listen: what it says, whom it serves, and how it ends; with local programs that are not parley's.

import { existsSync, lstatSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { until, within } from "../../support/attack.ts";
import { cuttingProxy } from "../../support/cutting-proxy.ts";
import {
  addUser,
  EXECUTABLE,
  PASSWORD,
  portForLater,
  run,
  serve,
  start,
  type Running,
} from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { lacksTools } from "../../support/privileges.ts";
import { Screen } from "../../support/screen.ts";
import { bulk, digest, local } from "../../support/stream-service.ts";
import { listen as tunnelTo, output, type Tunnel } from "../../support/tunnel.ts";

setDefaultTimeout(90_000);

const CAT = ["--program-io", "bytes", "--", "cat"];
const OPEN = ["--auth", "none"];

let folder: TempFolder;
/** Of the server, and of the client. */
let data: string;
let own: string;
beforeEach(() => {
  folder = tempFolder();
  data = join(folder.path, "server");
  own = join(folder.path, "client");
});
afterEach(() => folder[Symbol.dispose]());

/** Starts `parley connect --listen` and waits until it is ready. */
const listen = (address: string, flags?: string[], env?: Record<string, string>) =>
  tunnelTo(own, address, flags, env);

async function stop(running: Running): Promise<void> {
  running.signal("SIGTERM");
  expect([await running.exited, running.stderr.text]).toEqual([0, ""]);
}

function events(tunnel: Tunnel): Record<string, unknown>[] {
  return tunnel.stdout.text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe("the ready line", () => {
  test("says where it listens, where it leads, and as whom; the port file has the port", async () => {
    await addUser(data);
    await using server = await serve(CAT, { data });
    const portFile = join(folder.path, "port");
    await using tunnel = start(
      ["connect", `ann@${server.address}`, "--listen", "0", "--port-file", portFile],
      { data: own, env: { PARLEY_PASSWORD: PASSWORD } },
    );
    await tunnel.stdout.see("\n");
    const port = Number(readFileSync(portFile, "utf8"));
    expect(tunnel.stdout.text).toBe(`forwarding 127.0.0.1:${port} → ${server.address} as ann\n`);
    using program = await local({ port });
    program.socket.end("hello");
    await within("the end", program.closed);
    expect([program.text, program.events]).toEqual(["hello", ["end", "closed"]]);
    await stop(tunnel);
    await server.stop();
  });

  test("on a terminal it asks for what is missing, and says when a connection is lost and comes back", async () => {
    await addUser(data);
    await using server = await serve(CAT, { data });
    using proxy = await cuttingProxy({ port: server.port });
    await using screen = new Screen(["connect", proxy.address, "--listen", "0"], { data: own });
    await screen.see("user:");
    screen.enter("ann");
    await screen.see("password for ann:");
    screen.enter(PASSWORD);
    await screen.see(/forwarding 127\.0\.0\.1:\d+ → \S+ as ann/);
    const port = Number(/forwarding 127\.0\.0\.1:(\d+)/.exec(screen.text.text)?.[1]);
    using program = await local({ port });
    program.socket.write("x");
    await until("echo", "x", () => program.text);
    proxy.cutAll("reset");
    await screen.see(/127\.0\.0\.1:\d+: .*: reconnecting/);
    await screen.see("reconnected after");
    screen.type("\x03");
    await screen.see("stopping: 1 connection has 10 s to end; Ctrl-C again stops at once");
    program.socket.end("y");
    expect(await screen.exited).toBe(0);
    expect(program.text).toBe("xy");
    await server.stop();
  });

  test("--json says the same", async () => {
    await using server = await serve([...OPEN, ...CAT], { data });
    await using tunnel = await listen(server.address, ["--listen", "[::1]:0"]);
    expect(tunnel.ready).toEqual({
      event: "forwarding",
      host: "::1",
      port: tunnel.port,
      pid: tunnel.pid,
      server: server.address,
      user: null,
      service: "cat",
    });
    await stop(tunnel);
    await server.stop();
  });
});

describe("who may connect", () => {
  test("the first login asks for the password; all others use the token, also after a restart", async () => {
    await addUser(data);
    const log = join(data, "parley.log");
    await using server = await serve([...CAT], { data });
    await using tunnel = await listen(`ann@${server.address}`, [], { PARLEY_PASSWORD: PASSWORD });
    const programs = await Promise.all(Array.from({ length: 8 }, () => local(tunnel)));
    for (const { socket } of programs) socket.end("x");
    await Promise.all(programs.map(({ closed }) => within("the end", closed)));
    await stop(tunnel);
    await using again = await listen(server.address);
    using program = await local(again);
    program.socket.end("y");
    await within("the end", program.closed);
    expect(program.text).toBe("y");
    await stop(again);
    await server.stop();
    const methods = readFileSync(log, "utf8").match(/(?<= logged-in .*method=)\w+/g);
    expect(methods).toEqual(["password", ...Array<string>(10).fill("token")]);
  });

  test("without a token the given password serves all", async () => {
    await addUser(data);
    await using server = await serve([...CAT], { data });
    await using tunnel = await listen(`ann@${server.address}`, ["--no-token"], { PARLEY_PASSWORD: PASSWORD });
    for (const text of ["one", "two"]) {
      using program = await local(tunnel);
      program.socket.end(text);
      await within("the end", program.closed);
      expect(program.text).toBe(text);
    }
    await stop(tunnel);
    await server.stop();
  });

  test("a path has mode 0600, and is removed at the end", async () => {
    await using server = await serve([...OPEN, ...CAT], { data });
    const path = join(folder.path, "db.sock");
    await using tunnel = await listen(server.address, ["--listen", `unix:${path}`]);
    expect(tunnel.ready).toMatchObject({ event: "forwarding", path });
    expect((lstatSync(path).mode & 0o777).toString(8)).toBe("600");
    using program = await local({ path });
    program.socket.end("hello");
    await within("the end", program.closed);
    expect(program.text).toBe("hello");
    await stop(tunnel);
    expect(existsSync(path)).toBe(false);
    await server.stop();
  });
});

describe("it does not begin", () => {
  test.each([
    ["on another machine's address", ["--listen", "0.0.0.0:0"], "--open"],
    ["where nothing says to listen", ["--port-file", "x"], "--port-file requires --listen"],
    ["beside --send", ["--listen", "0", "--send", "x"], "--send"],
    ["beside --raw", ["--listen", "0", "--raw"], "--raw"],
    ["beside --pty", ["--listen", "0", "--pty"], "--listen and --pty"],
    ["with a wrong number of tries", ["--listen", "0", "--retry", "often"], 'invalid number "often"'],
    ["at no address", ["--listen", "one:two"], "invalid address"],
    ["at a name", ["--listen", "example.org:5432"], "invalid address"],
    ["at a path that is too long", ["--listen", `unix:/${"x".repeat(200)}`], "too long"],
    ["with a port file for a path", ["--listen", "unix:/x", "--port-file", "p"], "--port-file"],
  ])("%s", async (_, flags, words) => {
    const { exitCode, stderr } = await run(["connect", "127.0.0.1:1", ...flags]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining(words) as string]);
  });

  test("at a server whose service takes messages", async () => {
    await using server = await serve([...OPEN], { data });
    const { exitCode, stderr } = await run(["connect", server.address, "--listen", "0"]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^parley: error: cannot forward to this server: .*\nparley: hint: .*--to/);
    await server.stop();
  });

  test("at a busy port, which it does not replace by another", async () => {
    await using server = await serve([...OPEN, ...CAT], { data });
    const { exitCode, stderr } = await run(["connect", server.address, "--listen", String(server.port)]);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(`port ${server.port} is busy`) as string]);
    await server.stop();
  });

  test("with a wrong password", async () => {
    await addUser(data);
    await using server = await serve(CAT, { data });
    const env = { PARLEY_PASSWORD: "wrong password" };
    const { exitCode } = await run(["connect", `ann@${server.address}`, "--listen", "0"], { env });
    expect(exitCode).toBe(3);
    await server.stop();
  });
});

describe("its end", () => {
  test("a changed password resets what is open, is said once, and ends it with 5", async () => {
    await addUser(data);
    await using server = await serve(CAT, { data });
    await using tunnel = await listen(`ann@${server.address}`, [], { PARLEY_PASSWORD: PASSWORD });
    const programs = [await local(tunnel), await local(tunnel)];
    for (const { socket } of programs) socket.write("x");
    await until("echoes", true, () => programs.every(({ text }) => text === "x"));
    const { exitCode } = await run(["users", "passwd", "ann", "--generate"], { data });
    expect(exitCode).toBe(0);
    expect(await within("the end", tunnel.exited)).toBe(5);
    await Promise.all(programs.map(({ closed }) => within("the reset", closed)));
    expect(programs.map(({ events: seen }) => seen)).toEqual([["reset"], ["reset"]]);
    expect(tunnel.stderr.text.match(/^parley: error: .*$/gm)).toEqual([
      "parley: error: the server ended the login: the password was changed",
    ]);
    await server.stop();
  });

  test("a token that is refused ends it with 3", async () => {
    await addUser(data);
    await using server = await serve(CAT, { data });
    await using tunnel = await listen(`ann@${server.address}`, [], {
      PARLEY_PASSWORD: PASSWORD,
    });
    await run(["users", "remove", "ann", "--yes"], { data });
    await run(["users", "revoke", "--all"], { data });
    using program = await local(tunnel);
    expect(await within("the end", tunnel.exited)).toBe(3);
    await within("the reset", program.closed);
    expect(program.events).toEqual(["reset"]);
    await server.stop();
  });

  test("a server that is started again is waited for; what was open is reset", async () => {
    const port = String(portForLater());
    const argv = ["--port", port, ...OPEN, ...CAT];
    await using server = await serve(argv, { data });
    await using tunnel = await listen(server.address);
    using before = await local(tunnel);
    before.socket.write("x");
    await until("echo", "x", () => before.text);
    await server.stop();
    await within("the end", before.closed);
    using meanwhile = await local(tunnel);
    meanwhile.socket.end("hello");
    await tunnel.stdout.see('"event":"failing"');
    await using again = await serve(argv, { data });
    await within("the end", meanwhile.closed);
    expect([meanwhile.text, meanwhile.events]).toEqual(["hello", ["end", "closed"]]);
    expect(events(tunnel).map(({ event }) => event)).toContain("working");
    tunnel.signal("SIGTERM");
    expect(await tunnel.exited).toBe(0);
    await again.stop();
  });

  test("after a signal it waits for what is open, and takes nothing new; the second one resets", async () => {
    await using server = await serve([...OPEN, ...CAT], { data });
    await using tunnel = await listen(server.address);
    using one = await local(tunnel);
    using two = await local(tunnel);
    for (const { socket } of [one, two]) socket.write("x");
    await until("echoes", true, () => one.text + two.text === "xx");
    tunnel.signal("SIGINT");
    await until("refused", true, () => local(tunnel).then(close, () => true));
    one.socket.end("last words");
    await within("the end", one.closed);
    expect([one.text, one.events]).toEqual(["xlast words", ["end", "closed"]]);
    const later = setInterval(() => tunnel.signal("SIGINT"), 300);
    expect(await within("the end", tunnel.exited, 9000)).toBe(0);
    clearInterval(later);
    await within("the reset", two.closed);
    expect(two.events).toEqual(["reset"]);
    await server.stop();
  });
});

function close(program: Disposable): false {
  program[Symbol.dispose]();
  return false;
}

test("resets, losses and returns are events, with what is not known", async () => {
  const sleeper = ["--program-io", "bytes", "--", "sh", "-c", "echo ready; exec sleep 60"];
  await using server = await serve([...OPEN, ...sleeper], { data });
  using proxy = await cuttingProxy({ port: server.port });
  await using tunnel = await listen(proxy.address, ["--retry", "3"]);
  using program = await local(tunnel);
  await until("heard", "ready\n", () => program.text);
  program.socket.write(Buffer.alloc(1_000_000)); // more than a pipe takes
  proxy.cutAll("reset");
  await tunnel.stdout.see('"event":"resumed"');
  proxy.options.port = 1;
  server.signal("SIGKILL");
  await within("its reset", program.closed);
  await tunnel.stdout.see(/"event":"reset".*\n/);
  const reset = events(tunnel).find(({ event }) => event === "reset");
  expect(reset).toMatchObject({ code: "lost", undelivered: 0 });
  expect(reset?.["unconfirmed"]).toBeGreaterThan(0);
  expect(reset?.["unconfirmed"]).toBeLessThanOrEqual(1_000_000);
  await tunnel.stderr.see(/ was reset: .*; \d+ bytes may not have arrived\n/);
  tunnel.signal("SIGTERM");
  expect(await tunnel.exited).toBe(0);
});

/** What a service manager of a few lines gives to `argv`: a listening socket, and an ear. */
const MANAGER = `
import os, socket, sys
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ear.bind("\\0parley-listen-%d" % os.getpid())
held = socket.socket()
held.bind(("127.0.0.1", 0))
held.listen(16)
child = os.fork()
if child == 0:
    os.dup2(held.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET="@parley-listen-%d" % os.getppid())
    os.execv(sys.argv[1], sys.argv[1:])
print(ear.recv(4096).decode().splitlines()[0], flush=True)
program = socket.create_connection(held.getsockname())
program.sendall(b"through")
program.shutdown(socket.SHUT_WR)
print(program.makefile().read(), flush=True)
os.kill(child, 15)
print(ear.recv(4096).decode().splitlines()[0], flush=True)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
`;

test.skipIf(lacksTools("python3"))("a service manager hands it a socket, and hears of it", async () => {
  await using server = await serve([...OPEN, ...CAT], { data });
  const argv = ["connect", server.address, "--listen", "0", "--data", own];
  const heard = await output(["python3", "-c", MANAGER, EXECUTABLE, ...argv]);
  const lines = heard.toString().split("\n");
  expect(lines.filter((line) => !line.startsWith("forwarding"))).toEqual([
    "READY=1",
    "through",
    "STOPPING=1",
    "0",
    "",
  ]);
  await server.stop();
});

describe("with programs that know nothing of it", () => {
  test.skipIf(lacksTools("ncat"))("ncat: everything back, through cuts", async () => {
    await using server = await serve([...OPEN, ...CAT], { data });
    using proxy = await cuttingProxy({ port: server.port, cuts: 8, least: 50_000, most: 1_500_000 });
    await using tunnel = await listen(proxy.address);
    const sent = Buffer.concat([...bulk(5_000_000)]);
    const got = await output(["ncat", "127.0.0.1", String(tunnel.port)], sent);
    expect([got.length, digest([got])]).toEqual([sent.length, digest([sent])]);
    expect(proxy.done).toBeGreaterThan(2);
    tunnel.signal("SIGTERM");
    expect(await tunnel.exited).toBe(0);
    await server.stop();
  });
});
