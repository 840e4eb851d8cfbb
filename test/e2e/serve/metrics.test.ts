// parley serve --metrics: numbers that are those of what happened, and whether it is well.

import { expect, setDefaultTimeout, test } from "bun:test";
import type { Socket } from "node:net";
import { join } from "node:path";
import { MAX_METRICS_CONNECTIONS, MIN_REFUSING, RESERVED_DESCRIPTORS } from "../../../src/base/limits.ts";
import { attack, until, type Attacker } from "../../support/attack.ts";
import { LIFTED } from "../../support/attack/target.ts";
import { addUser, PASSWORD, run, serve, start } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { lacks } from "../../support/privileges.ts";

setDefaultTimeout(90_000);

/** Samples by name and labels; each line is looked at. */
function parse(page: string): Map<string, number> {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of page.trimEnd().split("\n")) {
    const [, name = "", type = ""] = /^# TYPE (\w+) (counter|gauge)$/.exec(line) ?? [];
    if (name !== "") types.set(name, type);
    if (line.startsWith("# ")) continue;
    const sample = /^((\w+)(?:\{(?:\w+="[\w-]*",?)+\})?) (\S+)$/.exec(line);
    expect(sample).not.toBeNull();
    expect(types.has(sample?.[2] ?? "")).toBe(true);
    samples.set(sample?.[1] ?? "", Number(sample?.[3]));
  }
  return samples;
}

test("what happened is told", async () => {
  using folder = tempFolder();
  const data = join(folder.path, "server");
  await addUser(data);
  await using server = await serve(["--metrics", "127.0.0.1:0"], { data });
  const url = `http://${String(server.ready["metrics"])}`;
  const page = async () => {
    const response = await fetch(`${url}/metrics`);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    return parse(await response.text());
  };
  const before = await page();
  expect(before.get("parley_connections_total")).toBe(0);
  const argv = ["connect", `ann@${server.address}`, "--no-token", "--send", "one", "--send", "two"];
  const client = { data: join(folder.path, "client") };
  const wrong = await run(argv, { ...client, env: { PARLEY_PASSWORD: "wrong password" } });
  expect(wrong.exitCode).toBe(3);
  const right = await run(argv, { ...client, env: { PARLEY_PASSWORD: PASSWORD } });
  expect(right.stdout).toBe("one\ntwo\n");

  const after = await page();
  const expected: [string, number][] = [
    ["parley_connections_total", 2],
    ["parley_connections", 0],
    ["parley_connections_pending", 0],
    ['parley_sessions{state="attached"}', 0],
    ['parley_sessions{state="detached"}', 0],
    ["parley_messages_received_total", 2],
    ['parley_events_total{event="login-refused",kind="bad_credentials"}', 1],
    ['parley_events_total{event="logged-in",kind="password"}', 1],
    ['parley_events_total{event="disconnected",kind="done"}', 1],
  ];
  for (const [name, value] of expected) expect([name, after.get(name)]).toEqual([name, value]);
  for (const name of ["parley_received_bytes_total", "parley_sent_bytes_total"]) {
    expect(after.get(name)).toBeGreaterThan(before.get(name) ?? 0);
  }
  for (const name of ["process_resident_memory_bytes", "process_cpu_seconds_total"]) {
    expect(after.get(name)).toBeGreaterThan(0);
  }
  await server.stop();
});

test("it is well until it is stopping", async () => {
  await using server = await serve(["--auth", "none", "--metrics", "127.0.0.1:0"]);
  const url = `http://${String(server.ready["metrics"])}`;
  const ask = async (path: string, method = "GET") => {
    const response = await fetch(`${url}${path}`, { method });
    return [response.status, await response.text()];
  };
  expect(await ask("/healthz")).toEqual([200, "ok\n"]);
  expect((await ask("/"))[0]).toBe(404);
  expect((await ask("/metrics", "POST"))[0]).toBe(405);
  // Somebody who has a conversation holds it up.
  await using client = start(["connect", server.address]);
  client.write("hello\n");
  await client.stdout.see("hello\n");
  process.kill(client.pid, "SIGSTOP");
  try {
    server.signal("SIGTERM");
    await until("health", [503, "stopping\n"], () => ask("/healthz"));
  } finally {
    process.kill(client.pid, "SIGCONT");
  }
  expect(await server.exited).toBe(0);
});

test.each([
  ["9113", 'invalid ADDRESS:PORT "9113"'],
  ["::1:9113", 'invalid ADDRESS:PORT "::1:9113"'],
  ["127.0.0.1:99999", 'invalid ADDRESS:PORT "127.0.0.1:99999"'],
  ["127.0.0.1:", 'invalid ADDRESS:PORT "127.0.0.1:"'],
  ["example.org:9113", 'invalid ADDRESS:PORT "example.org:9113"'],
  ["127.0.0.1:9113", "port 9113 is the port of the server"],
])("--metrics %s is told to be wrong", async (text, message) => {
  const { exitCode, stderr } = await run(["serve", "--port", "9113", "--auth", "none", "--metrics", text]);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(`--metrics: ${message}`)]);
});

test.each([
  ["no host", "GET /healthz HTTP/1.0\r\n\r\n", "200"],
  ["a strange host", "GET /healthz HTTP/1.1\r\nHost: [\r\n\r\n", "200"],
  ["a path with controls", "GET /\u009b31m\u202e HTTP/1.0\r\n\r\n", "400"],
  ["no HTTP", "hello\r\n\r\n", "400"],
])("a request with %s is answered, and nothing of it is printed", async (_, request, status) => {
  await using server = await serve(["--auth", "none", "--metrics", "127.0.0.1:0"]);
  const answer = Promise.withResolvers<string>();
  let said = "";
  await Bun.connect({
    hostname: "127.0.0.1",
    port: Number(/\d+$/.exec(String(server.ready["metrics"]))?.[0]),
    socket: {
      open: (socket) => void socket.write(request),
      data: (_socket, chunk) => void (said += chunk.toString()),
      close: () => answer.resolve(said),
    },
  });
  expect(await answer.promise).toStartWith(`HTTP/1.1 ${status} `);
  await server.stop();
  expect(server.stderr.text).toBe("");
});

test("two servers cannot have the same", async () => {
  await using server = await serve(["--auth", "none", "--metrics", "127.0.0.1:0"]);
  const address = String(server.ready["metrics"]);
  const second = await run(["serve", "--port", "0", "--auth", "none", "--metrics", address]);
  expect([second.exitCode, second.stdout]).toEqual([1, ""]);
  expect(second.stderr).toContain("the port is busy");
});

test("a busy port is told, and --check finds it", async () => {
  using busy = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const address = `127.0.0.1:${busy.port}`;
  for (const check of [[], ["--check"]]) {
    const argv = ["serve", "--port", "0", "--auth", "none", "--metrics", address, ...check];
    const { exitCode, stdout, stderr } = await run(argv);
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toStartWith(`parley: error: --metrics: cannot listen on ${address}: the port is busy\n`);
  }
});

test("where others can reach them, that is said", async () => {
  await using server = start(["serve", "--port", "0", "--auth", "none", "--metrics", "0.0.0.0:0"]);
  await server.stdout.see("\n");
  await server.stderr.see(
    /warning: anyone who can reach 0\.0\.0\.0:\d+ can read the metrics: there is no login\n/,
  );
  server.signal("SIGTERM");
  expect(await server.exited).toBe(0);
});

test("those who only sit there are few, make way for who asks, and cost conversations nothing", async () => {
  await using server = await serve(["--auth", "none", "--metrics", "127.0.0.1:0"]);
  const url = `http://${String(server.ready["metrics"])}`;
  const sitting: Socket[] = [];
  let left = 0;
  while (sitting.length < 40) {
    const { socket, closed } = await attack(Number(new URL(url).port));
    void closed.then(() => left--);
    left++;
    sitting.push(socket);
  }
  await until("those who are left", MAX_METRICS_CONNECTIONS, () => left);
  const { stdout } = await run(["connect", server.address, "--send", "hello", "--count", "1"]);
  expect(stdout).toBe("hello\n");
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  await until("those who are left", MAX_METRICS_CONNECTIONS - 1, () => left);
  await server.stop();
  for (const socket of sitting) socket.destroy();
});

test.skipIf(lacks("prlimit"))(
  "health is answered when all descriptors for connections are taken",
  async () => {
    const connections = 40;
    const prefix = ["prlimit", `--nofile=${RESERVED_DESCRIPTORS + connections}`];
    await using server = await serve(["--auth", "none", "--metrics", "127.0.0.1:0", ...LIFTED], { prefix });
    const url = `http://${String(server.ready["metrics"])}`;
    const port = Number(/\d+$/.exec(server.address)?.[0]);
    const crowd: Attacker[] = [];
    const crowdAt = async (at: number, count: number) => {
      for (let left = count; left > 0; left--) crowd.push(await attack(at)); // one after the other: none is reset so soon
    };
    // So many are served; the others are told that it is full, and do not leave.
    await crowdAt(port, connections + MIN_REFUSING);
    await Promise.all(crowd.map(({ greeted }) => greeted));
    await crowdAt(Number(new URL(url).port), 2 * MAX_METRICS_CONNECTIONS);
    const samples = parse(await (await fetch(`${url}/metrics`)).text());
    expect(samples.get("parley_connections")).toBeGreaterThanOrEqual(connections);
    expect(samples.get("process_open_fds")).toBeLessThan(samples.get("process_max_fds") ?? 0);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    for (const { socket } of crowd) socket.destroy();
    await server.stop();
  },
);
