// The log of parley serve: every event a line, in order, in both formats, and across a rotation.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../../support/attack.ts";
import { addUser, cleanEnv, EXECUTABLE, PASSWORD, run, serve } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Peer } from "../../support/peer.ts";

setDefaultTimeout(90_000);

const env = { PARLEY_PASSWORD: PASSWORD };

/** A client may be gone before the server has heard of it: waits until so many ends of connections are in the log. */
const ended = (log: string, wanted: number) =>
  until("ends", wanted, () => (readFileSync(log, "utf8").match(/\bdisconnected\b/g) ?? []).length);

test("text: time, level, event and fields, in the order of what happened", async () => {
  using folder = tempFolder();
  const data = folder.path;
  await addUser(data);
  await using server = await serve([], { data });
  await run(["connect", `ann@${server.address}`, "--send", "x"], { env });
  await ended(join(data, "parley.log"), 1);
  await run(["connect", `ann@${server.address}`, "--send", "x"], { env: { PARLEY_PASSWORD: "wrong horse" } });
  await ended(join(data, "parley.log"), 2);
  await server.stop();
  const lines = readFileSync(join(data, "parley.log"), "utf8").trimEnd().split("\n");
  const form =
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info |warn |error|debug) ([a-z-]+)( [a-z]+=("[^"]*"|[^\s"=]+))*$/;
  for (const line of lines) expect(line).toMatch(form);
  expect(lines.map((line) => form.exec(line)?.[2])).toEqual([
    "listening",
    "connected",
    "logged-in",
    "disconnected",
    "connected",
    "login-refused",
    "disconnected",
    "stopping",
    "stopped",
  ]);
  expect(lines[2]).toMatch(/ conn=1 peer=127\.0\.0\.1:\d+ user=ann /);
  expect(lines[4]).toContain(" conn=2 ");
  expect(lines.join("\n")).not.toContain("horse");
});

test("json: one object a line with time, level and event", async () => {
  using folder = tempFolder();
  const log = join(folder.path, "elsewhere.log");
  await using server = await serve(["--auth", "none", "--log", log, "--log-format", "json"]);
  await run(["connect", server.address, "--send", "x"]);
  await ended(log, 1);
  await server.stop();
  const lines = readFileSync(log, "utf8").trimEnd().split("\n");
  const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(events.map(({ event }) => event)).toEqual([
    "listening",
    "connected",
    "logged-in",
    "disconnected",
    "stopping",
    "stopped",
  ]);
  for (const event of events) {
    expect(new Date(String(event["time"])).toISOString()).toBe(String(event["time"]));
    expect(event["level"]).toBe("info");
  }
  expect(events[3]).toMatchObject({ conn: 1, received: 1, bye: "done" });
});

test("--log-level leaves out what is below it", async () => {
  using folder = tempFolder();
  await using server = await serve(["--auth", "none", "--log-level", "warn"], { data: folder.path });
  await run(["connect", server.address, "--send", "x"]);
  await server.stop();
  expect(readFileSync(join(folder.path, "parley.log"), "utf8")).toBe("");
});

test("a name with control characters forges no line", async () => {
  using folder = tempFolder();
  await using server = await serve(["--auth", "ip"], { data: folder.path });
  using peer = await Peer.connect(server.port);
  await peer.message();
  peer.json({ type: "login", method: "name", user: "ann\n2026-01-01T00:00:00.000Z info  stopped\u001b[2J" });
  expect((await peer.message())["type"]).toBe("refused");
  peer.json({ type: "login", method: "password", user: "x\nforged", password: "x" });
  await peer.message();
  peer.end();
  await peer.rest();
  await server.stop();
  const log = readFileSync(join(folder.path, "parley.log"), "latin1");
  expect(log).not.toMatch(/[^\x20-\x7e\n]/);
  for (const line of log.trimEnd().split("\n"))
    expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z (info|warn|error) /);
  expect(log.match(/ stopped /g)).toHaveLength(1);
});

test("SIGHUP opens it anew after a rename, and no line is lost", async () => {
  using folder = tempFolder();
  const data = folder.path;
  const log = join(data, "parley.log");
  const old = `${log}.1`;
  await using server = await serve(["--auth", "none"], { data });
  const visit = async () => {
    using peer = await Peer.connect(server.port);
    await peer.enter();
    peer.control({ type: "end" });
    await peer.rest();
    peer.end();
    await peer.closed;
  };
  for (let i = 0; i < 20; i++) await visit();
  renameSync(log, old);
  const during = Promise.all(Array.from({ length: 20 }, visit));
  server.signal("SIGHUP");
  await until("a new log", true, () => existsSync(log));
  await during;
  for (let i = 0; i < 20; i++) await visit();
  await server.stop();
  const [before, after] = [readFileSync(old, "utf8"), readFileSync(log, "utf8")];
  const count = (text: string, event: string) => text.split(` ${event} `).length - 1;
  for (const event of ["connected", "logged-in", "disconnected"]) {
    expect(count(before + after, event)).toBe(60);
    expect(count(after, event)).toBeGreaterThanOrEqual(20);
  }
  expect(count(before, "listening")).toBe(1);
  expect(count(after, "stopped")).toBe(1);
});

test("a pipe without a reader is refused at once", async () => {
  using folder = tempFolder();
  const log = join(folder.path, "pipe");
  execFileSync("mkfifo", [log]);
  const { exitCode, stdout, stderr } = await run(["serve", "--port", "0", "--auth", "none", "--log", log]);
  expect({ exitCode, stdout, stderr }).toEqual({
    exitCode: 1,
    stdout: "",
    stderr:
      `parley: error: cannot write the log ${log}: it is a socket, or a pipe without a reader\n` +
      "parley: hint: choose another file with --log FILE\n",
  });
});

test("/dev/stderr may be a pipe", async () => {
  using folder = tempFolder();
  // A pipe of the shell's own: what a test holds is a socket.
  const command = `"$@" --log /dev/stderr 2>&1 >/dev/null | sed -u p`;
  const argv = [EXECUTABLE, "serve", "--port", "0", "--auth", "none"];
  await using server = Bun.spawn(["sh", "-c", command, "sh", ...argv], {
    env: cleanEnv(folder.path),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
  });
  let said = "";
  let pid: number | undefined;
  const decoder = new TextDecoder();
  for await (const chunk of server.stdout) {
    said += decoder.decode(chunk, { stream: true });
    const [, found] = / listening .* pid=(\d+) /.exec(said) ?? [];
    if (pid !== undefined || found === undefined) continue;
    pid = Number(found);
    process.kill(pid, "SIGTERM"); // once: by the next line it may be gone
  }
  expect(said).toContain(" stopped ");
});

test("/dev/stderr may be a socket, as a service manager gives it", async () => {
  await using server = await serve(["--auth", "none", "--log", "/dev/stderr"]); // Bun's `pipe` is one
  await server.stderr.see(" listening ");
  server.signal("SIGHUP");
  await server.stop();
  expect(server.stderr.text).toContain(" stopped ");
});
