// The adapter of `parley connect`: each conversation is a run of the executable, with -0 and --json.
//
//     bun clients/conformance/connect.ts [EXECUTABLE]

import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linesOf } from "./lines.ts";

type Json = Record<string, unknown>;

const EXECUTABLE = process.argv[2] ?? join(import.meta.dirname, "../../dist/parley");
const folder = mkdtempSync(join(tmpdir(), "parley-adapter-"));
let runs = 0;
let client: ChildProcessWithoutNullStreams | undefined;

function report(event: Json): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** A private file, as the executable wants its secrets. */
function file(name: string, text: string): string {
  const path = join(folder, `${runs}-${name}`);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

function flagsOf(settings: Json): string[] {
  const flags: string[] = [];
  const add = (name: string, flag: string, value?: (given: string) => string) => {
    const given = settings[name] as string | number | true | undefined;
    if (given === undefined) return;
    flags.push(flag, ...(value === undefined ? [] : [value(String(given))]));
  };
  add("user", "--user", String);
  add("register", "--register");
  add("password", "--password-file", (text) => file("password", text));
  add("key", "--key-file", (text) => file("key", text));
  add("pin", "--pin", String);
  add("ca", "--tls-ca", String);
  add("bare", "--bare");
  add("max_frame", "--max-frame", String);
  add("resume", "--retry", () => "9");
  return flags;
}

function connect({ host, port, ...settings }: Json): void {
  const data = join(folder, `data-${++runs}`);
  const server = `${String(host)}:${String(port)}`;
  const tokens = join(data, "tokens.json");
  if (settings["token"] !== undefined) {
    const { user, token } = settings;
    const expires = new Date(Date.now() + 3_600_000).toISOString();
    mkdirSync(data, { mode: 0o700 });
    writeFileSync(tokens, JSON.stringify({ version: 1, tokens: [{ server, user, token, expires }] }), {
      mode: 0o600,
    });
  }
  const argv = ["connect", server, "--json", "-0", "--no-input", "--data", data, ...flagsOf(settings)];
  const child = spawn(EXECUTABLE, argv, { env: { PATH: process.env["PATH"], HOME: folder } });
  client = child;
  let error: Json = { event: "error" };
  child.stdin.on("error", () => undefined); // the exit code says more
  child.stderr.pipe(process.stderr);
  const read = (async () => {
    for await (const line of linesOf(child.stdout)) {
      const { event, user, text, base64, server_code, code } = JSON.parse(line) as Json;
      if (event === "logged-in") report({ event: "connected", user, token: tokenIn(tokens) });
      if (event === "received") report({ event: "message", text, base64 });
      if (event === "bye" && code !== "done") error = { event: "error", code };
      if (event === "error" && error["code"] === undefined)
        error = { event: "error", code: server_code ?? code };
    }
  })();
  child.on("close", async (status, signal) => {
    await read;
    const hasLeft = signal !== null || (status ?? 0) > 128;
    client = undefined;
    report(status === 0 || hasLeft ? { event: "done" } : error);
  });
}

/** The token that the executable has kept. */
function tokenIn(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const { tokens } = JSON.parse(readFileSync(path, "utf8")) as { tokens: { token: string }[] };
  return tokens.at(-1)?.token;
}

report({
  event: "ready",
  parts: ["login", "password", "register", "token", "key", "tls", "control", "resume", "bare"],
});
for await (const line of linesOf(process.stdin)) {
  const command = JSON.parse(line) as Json;
  const { do: what, text, base64 } = command;
  if (what === "connect") connect(command);
  else if (what === "send") {
    client?.stdin.write(typeof text === "string" ? text : Buffer.from(String(base64), "base64"));
    client?.stdin.write("\0");
  } else if (what === "end") client?.stdin.end();
  else if (what === "close") client?.kill("SIGTERM");
}
client?.kill("SIGKILL");
rmSync(folder, { recursive: true, force: true });
