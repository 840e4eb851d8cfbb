// The executable and TLS: what serve prints is what connect takes, its identity outlives restarts and accidents, and a
// terminal asks before it believes a server.

import { existsSync, chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { within } from "../../support/attack.ts";
import { cleanEnv, EXECUTABLE, run, serve, start, type Options } from "../../support/executable.ts";
import { authority, selfSigned } from "../../support/certificates.ts";
import { fakeServer } from "../../support/fake-server.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const NOBODY = ["--auth", "none"];
const SAY = ["--send", "hello", "--count", "1"];

let folder: TempFolder;
const at = (name: string) => join(folder.path, name);
beforeEach(() => (folder = tempFolder()));
afterEach(() => folder[Symbol.dispose]());

/** Serves from the folder for a moment, and tells the pin. */
async function pinOf(...argv: string[]): Promise<string> {
  await using server = await serve([...NOBODY, "--tls", ...argv], { data: folder.path });
  await server.stop();
  return String(server.ready["tls"]);
}

const check = (argv: string[], options: Options = {}) =>
  run(["serve", "--check", "--port", "0", ...NOBODY, ...argv], { data: folder.path, ...options });

describe("the ready line", () => {
  test("has the pin with TLS, and null without", async () => {
    expect(await pinOf()).toMatch(/^sha256\/[A-Za-z0-9+/]{43}=$/);
    await using plain = await serve(NOBODY);
    expect(plain.ready["tls"]).toBeNull();
    await plain.stop();
  });

  test("has the pin beyond loopback without a flag, and with --no-tls none", async () => {
    await using open = await serve([...NOBODY, "--host", "0.0.0.0"]);
    expect(String(open.ready["tls"])).toStartWith("sha256/");
    await open.stop();
    await using plain = await serve([...NOBODY, "--host", "0.0.0.0", "--no-tls"]);
    expect(plain.ready["tls"]).toBeNull();
    await plain.stop();
  });
});

test("off a terminal the pin is on stderr, with the command, unless the ready line has it", async () => {
  const argv = ["serve", "--port", "0", ...NOBODY, "--tls"];
  await using plain = start(argv, { data: folder.path });
  await using json = start([...argv, "--json"], { data: folder.path });
  for (const server of [plain, json]) {
    await server.stdout.see("\n");
    server.signal("SIGTERM");
    expect(await server.exited).toBe(0);
  }
  const address = /^listening on (127\.0\.0\.1:\d+)\n$/.exec(plain.stdout.text)?.[1];
  const { tls } = JSON.parse(json.stdout.text) as { tls: string };
  expect(plain.stderr.text).toMatch(/^connect with: .*\n$/);
  expect(plain.stderr.text).toEndWith(` connect ${address} --pin ${tls}\n`);
  expect(json.stderr.text).toBe("");
});

describe("the connect command that serve prints", () => {
  /** Serves at a terminal, and runs what it says there. */
  async function runAsPrinted(argv: string[]): Promise<void> {
    const auth = argv.includes("--bare") ? [] : NOBODY;
    await using screen = new Screen(["serve", "--port", "0", ...auth, ...argv], { cols: 300 });
    await screen.see("connect with: ");
    await screen.see("\n");
    const command = /connect with: \S+ (connect .*)/.exec(screen.text.text)?.[1]?.trim() ?? "";
    const child = Bun.spawn(["sh", "-c", `exec "$0" ${command} --send hello --count 1`, EXECUTABLE], {
      env: cleanEnv(at("client")),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect({ command, stdout, stderr }).toEqual({ command, stdout: "hello\n", stderr: "" });
    expect(await child.exited).toBe(0);
    screen.type(CTRL_C);
    expect(await screen.exited).toBe(0);
  }

  test("works with TLS", () => runAsPrinted(["--tls"]));
  test("works beyond loopback", () => runAsPrinted(["--host", "0.0.0.0"]));
  test("works beyond loopback in plain text", () => runAsPrinted(["--host", "0.0.0.0", "--no-tls"]));
  test("works with a key", () => runAsPrinted(["--tls", "--key-file", at("key")]));
  test("works with a key and bare", () => runAsPrinted(["--key-file", at("key"), "--bare"]));
  test("works with decimal headers", () => runAsPrinted(["--bare", "--open", "--framing", "decimal:10"]));
  test("works with a key file that has a space in its name", () =>
    runAsPrinted(["--tls", "--key-file", at("shared key")]));
});

describe("a server's own identity", () => {
  test("survives a restart, and a certificate that is lost or damaged; a lost key is another server", async () => {
    const pin = await pinOf();
    expect(await pinOf()).toBe(pin);
    rmSync(at("tls-cert.pem"));
    expect(await pinOf()).toBe(pin);
    writeFileSync(at("tls-cert.pem"), "garbage");
    expect(await pinOf()).toBe(pin);
    expect(readFileSync(at("tls-cert.pem"), "utf8")).toStartWith("-----BEGIN CERTIFICATE-----");
    expect(statSync(at("tls-key.pem")).mode & 0o777).toBe(0o600);
    rmSync(at("tls-key.pem"));
    expect(await pinOf()).not.toBe(pin);
  });

  test("is refused when others can read the key; the command of the hint mends it", async () => {
    const pin = await pinOf();
    chmodSync(at("tls-key.pem"), 0o644);
    const { exitCode, stdout, stderr } = await check(["--tls"]);
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("has mode 644");
    const hint = /parley: hint: make it private: (.*)/.exec(stderr)?.[1] ?? "false";
    expect(await Bun.spawn(["sh", "-c", hint]).exited).toBe(0);
    expect(await pinOf()).toBe(pin);
  });

  test("is refused when the key is damaged, and left as it is", async () => {
    await pinOf();
    writeFileSync(at("tls-key.pem"), "garbage");
    const { exitCode, stderr } = await check(["--tls"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("tls-key.pem holds no private key");
    expect(readFileSync(at("tls-key.pem"), "utf8")).toBe("garbage");
  });

  test("is not made by --check, which says so", async () => {
    const { exitCode, stderr } = await check(["--tls"]);
    expect([exitCode, stderr]).toEqual([
      0,
      `would create a new certificate and its key: ${at("tls-key.pem")}\nthe configuration is valid\n`,
    ]);
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("is not even looked for in plain text", async () => {
    expect((await check([])).exitCode).toBe(0);
    expect((await check(["--host", "0.0.0.0", "--no-tls"])).exitCode).toBe(0);
    expect(existsSync(at("tls-key.pem"))).toBe(false);
  });
});

describe("--tls-cert and --tls-key", () => {
  const put = (name: string, text: string) => {
    writeFileSync(at(name), text, { mode: 0o600 });
    return at(name);
  };

  test("are served, beyond what the folder holds, and --tls-ca of a client takes them", async () => {
    const ca = await authority();
    const { key, certificate, pin } = await ca.issue("127.0.0.1");
    const files = ["--tls-cert", put("c.pem", certificate), "--tls-key", put("k.pem", key)];
    await using server = await serve([...NOBODY, ...files], { data: folder.path });
    expect(server.ready["tls"]).toBe(pin);
    expect(existsSync(at("tls-key.pem"))).toBe(false);
    const { stdout, stderr } = await run([
      "connect",
      server.address,
      "--tls-ca",
      put("ca.pem", ca.pem),
      ...SAY,
    ]);
    expect({ stdout, stderr }).toEqual({ stdout: "hello\n", stderr: "" });
    await server.stop();
  });

  test("that do not belong together, or of which one is missing or empty, never become plain text", async () => {
    const [one, other] = await Promise.all([selfSigned(), selfSigned()]);
    const [certificate, key] = [put("c.pem", one.certificate), put("k.pem", other.key)];
    const [empty, none] = [put("empty.pem", ""), at("none.pem")];
    const cases: [number, string[]][] = [
      [1, ["--tls-cert", certificate, "--tls-key", key]],
      [1, ["--tls-cert", certificate, "--tls-key", none]],
      [1, ["--tls-cert", none, "--tls-key", key]],
      [1, ["--tls-cert", certificate, "--tls-key", empty]],
      [1, ["--tls-cert", empty, "--tls-key", key]],
      [2, ["--tls-cert", certificate]],
      [2, ["--tls-key", key]],
      [2, ["--tls-cert", "", "--tls-key", ""]],
      [2, ["--tls-cert=", "--tls-key="]],
      [2, ["--tls-cert", certificate, "--tls-key", key, "--no-tls"]],
      [2, ["--tls", "--no-tls"]],
    ];
    for (const [code, argv] of cases) {
      const { exitCode, stderr } = await check(argv);
      expect({ argv, exitCode }).toEqual({ argv, exitCode: code });
      expect(stderr).toStartWith("parley: error: ");
      expect(stderr).not.toContain("fault of parley");
    }
  });
});

describe("the time of a given certificate", () => {
  const DAY = 24 * 60 * 60 * 1000;
  const now = Date.now();
  const day = (time: number) => new Date(time).toISOString().slice(0, 10);
  const files = async (from: number, to: number) => {
    const ca = await authority();
    const { key, certificate } = await ca.issueFor({ from: new Date(from), to: new Date(to) }, "127.0.0.1");
    writeFileSync(at("c.pem"), certificate);
    writeFileSync(at("k.pem"), key, { mode: 0o600 });
    return ["--tls-cert", at("c.pem"), "--tls-key", at("k.pem")];
  };

  test.each([
    ["expired", now - 9 * DAY, now - 2 * DAY, `expired on ${day(now - 2 * DAY)}`],
    ["is not valid yet", now + 2 * DAY, now + 90 * DAY, `is not valid before ${day(now + 2 * DAY)}`],
  ])("that %s is a flaw to --check, and said by a server that goes on", async (_, from, to, why) => {
    const argv = await files(from, to);
    const sentence = `the certificate ${why}: clients with --tls-ca refuse it\n`;
    const { exitCode, stdout, stderr } = await check(argv);
    expect([exitCode, stdout, stderr]).toEqual([1, "", `parley: error: ${sentence}`]);
    await using server = await serve([...NOBODY, ...argv], { data: folder.path });
    expect(server.stderr.text).toContain(sentence);
    const { stdout: answer } = await run(["connect", server.address, "--accept-new", ...SAY]);
    expect(answer).toBe("hello\n"); // who knows the key needs no date
    await server.stop();
  });

  test("that ends within a week is said, and in order; one that ends later is not spoken of", async () => {
    const soon = await check(await files(now - DAY, now + 5 * DAY));
    expect([soon.exitCode, soon.stderr]).toEqual([
      0,
      `the certificate expires on ${day(now + 5 * DAY)}\nthe configuration is valid\n`,
    ]);
    const later = await check(await files(now - DAY, now + 9 * DAY));
    expect([later.exitCode, later.stderr]).toEqual([0, "the configuration is valid\n"]);
  });

  test("counts for every certificate that is shown", async () => {
    const argv = await files(now - DAY, now + 90 * DAY);
    const above = await authority("above", { from: new Date(now - 9 * DAY), to: new Date(now - DAY) });
    writeFileSync(at("c.pem"), readFileSync(at("c.pem"), "utf8") + above.pem);
    const { exitCode, stderr } = await check(argv);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`the certificate expired on ${day(now - DAY)}`);
  });
});

describe("a terminal and a server that is not known", () => {
  test("asks with the pin, believes after yes, and does not ask again", async () => {
    await using server = await serve([...NOBODY, "--tls"]);
    const argv = ["connect", server.address, "--tls"];
    const pin = String(server.ready["tls"]);
    for (const asked of [true, false]) {
      await using screen = new Screen(argv, { data: at("client"), cols: 200 });
      if (asked) {
        await screen.see("Its key:");
        await screen.see(pin);
        await screen.see("does it match the pin that the server prints?");
        screen.enter("y");
      }
      await screen.see("\n> ");
      screen.type(CTRL_D);
      expect(await screen.exited).toBe(0);
      expect(screen.text.text.includes("Unknown server")).toBe(asked);
    }
    await server.stop();
  });

  test.each([
    ["no", "n"],
    ["just Enter", ""],
  ])("is left after %s with 1, having sent and remembered nothing", async (_, answer) => {
    await using server = await serve([...NOBODY, "--tls"]);
    await using screen = new Screen(["connect", server.address, "--tls"], { data: at("client"), cols: 200 });
    await screen.see("does it match the pin that the server prints?");
    screen.enter(answer);
    await screen.see("is not trusted");
    expect(await screen.exited).toBe(1);
    expect(existsSync(join(at("client"), "known-servers.json"))).toBe(false);
    await server.stop();
  });

  test("is not asked when the server has proven the shared key", async () => {
    await using server = await serve([...NOBODY, "--tls", "--key-file", at("key")]);
    const argv = ["connect", server.address, "--tls", "--key-file", at("key")];
    await using screen = new Screen(argv, { data: at("client"), cols: 200 });
    await screen.see("\n> ");
    screen.type(CTRL_D);
    expect(await screen.exited).toBe(0);
    expect(screen.text.text).not.toContain("is it the one");
    await server.stop();
  });
});

test("connect --timeout also holds for a server that never speaks TLS", async () => {
  using silent = await fakeServer(() => undefined);
  const argv = ["connect", silent.address, "--tls", "--timeout", "300ms", ...SAY];
  await using client = start(argv);
  expect(await within("the end", client.exited)).toBe(4);
});
