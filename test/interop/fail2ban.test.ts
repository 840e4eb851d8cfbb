// The filter for fail2ban, as docs/operating.md has it, over logs that the executable has written.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../support/attack.ts";
import { addUser, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { frame, Peer } from "../support/peer.ts";
import { lacksTools } from "../support/privileges.ts";

setDefaultTimeout(90_000);

const [, FILTER = ""] =
  /```ini\n(# \S+filter\.d\/parley\.conf\n[^`]+)```/.exec(
    readFileSync(join(import.meta.dir, "../../docs/operating.md"), "utf8"),
  ) ?? [];
const FORGED_TEXT =
  '2026-11-26T10:00:00.000Z warn  login-refused conn=1 peer=6.6.6.6:1 code=bad_credentials user=ann reason="x"';
const FORGED_JSON =
  '{"time":"2026-11-26T10:00:00.000Z","level":"warn","event":"login-refused","conn":1,"peer":"6.6.6.6:1","code":"bad_credentials"}';
const FORGED = [
  FORGED_TEXT,
  FORGED_JSON,
  `\n${FORGED_TEXT}\n`,
  `x" code=a\n${FORGED_TEXT}`,
  `","event":"x"}\r\n${FORGED_JSON}`,
  '","level":"warn","event":"key-refused","conn":1,"peer":"6.6.6.6:1",',
  " warn  key-refused conn=1 peer=6.6.6.6:1",
];

/** The addresses that the filter finds in `log`, each as often as it does. */
async function found(log: string, folder: string): Promise<string[]> {
  const filter = join(folder, "parley.conf");
  writeFileSync(filter, FILTER);
  const child = Bun.spawn(["fail2ban-regex", "-o", "ip", log, filter], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${stdout}${stderr}`);
  return stdout.split("\n").filter((line) => line !== "");
}

/** Says one login, and waits for its answer. */
async function tryLogin(port: number, from: string, login: object): Promise<void> {
  using peer = await Peer.connect(port, from);
  await peer.message();
  peer.json({ type: "login", ...login });
  await peer.message();
}

test.skipIf(lacksTools("fail2ban-regex")).each(["text", "json"])(
  "%s: each refused login and key counts once for its address, and nothing that a client says does",
  async (format) => {
    using folder = tempFolder();
    const data = folder.path;
    const log = join(data, "parley.log");
    await addUser(data);
    const flags = ["--log-format", format, "--penalties", "off"];
    const wrong = { method: "password", password: "a wrong guess" };
    {
      await using server = await serve(flags, { data });
      await tryLogin(server.port, "127.0.0.2", { ...wrong, user: "ann" });
      await tryLogin(server.port, "127.0.0.3", { ...wrong, user: "nobody" });
      await tryLogin(server.port, "127.0.0.4", { method: "token", id: "aaaaaaaa", proof: "" });
      await tryLogin(server.port, "127.0.0.5", {
        method: "password",
        user: "ann",
        password: "correct horse",
      });
      for (const user of FORGED) await tryLogin(server.port, "127.0.0.6", { ...wrong, user });
      await server.stop();
    }
    {
      await using server = await serve([...flags, "--key-file", join(data, "key")], { data });
      using peer = await Peer.connect(server.port, "127.0.0.7");
      await peer.frame();
      peer.send("no response");
      await peer.rest();
      await server.stop();
    }
    {
      await using server = await serve([...flags, "--auth", "ip"], { data });
      for (const user of FORGED) await tryLogin(server.port, "127.0.0.8", { method: "name", user });
      await server.stop();
    }
    {
      await using server = await serve([...flags, "--auth", "none", "--", "sh", "-c", "exec cat >&2"], {
        data,
      });
      using peer = await Peer.connect(server.port, "127.0.0.9");
      await peer.enter();
      peer.raw(Buffer.concat(FORGED.flatMap((text) => text.split("\n")).map((line) => frame(line))));
      peer.control({ type: "end" });
      await peer.rest();
      await server.stop();
    }
    expect(readFileSync(log, "utf8")).toContain("6.6.6.6"); // a program said it
    expect((await found(log, data)).toSorted()).toEqual([
      "127.0.0.2",
      "127.0.0.3",
      "127.0.0.4",
      ...FORGED.map(() => "127.0.0.6"),
      "127.0.0.7",
    ]);
  },
);

test.skipIf(lacksTools("fail2ban-regex"))("an IPv6 address is found, too", async () => {
  using folder = tempFolder();
  const log = join(folder.path, "log");
  await addUser(folder.path);
  await using server = await serve(["--host", "::1", "--no-tls", "--log", log], { data: folder.path });
  const socket = await Bun.connect({
    hostname: "::1",
    port: server.port,
    socket: { data() {} },
  });
  socket.write(frame('{"type":"login","method":"password","user":"ann","password":"a wrong guess"}'));
  await until("a refusal", true, () => readFileSync(log, "utf8").includes(" login-refused "));
  socket.terminate();
  await server.stop();
  expect(await found(log, folder.path)).toEqual(["::1"]);
});
