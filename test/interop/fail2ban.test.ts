// The filter for fail2ban, of the Debian package and docs/operating.md, over logs that the executable has written.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../support/attack.ts";
import { addUser, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { frame, Peer } from "../support/peer.ts";
import { lacksTools } from "../support/privileges.ts";

setDefaultTimeout(90_000);

const FILTER = readFileSync(join(import.meta.dir, "../../scripts/debian/fail2ban-filter.conf"), "utf8");
const FORGED_TEXT =
  '2026-11-26T10:00:00.000Z warn  login-refused conn=1 peer=6.6.6.6:1 code=bad_credentials user=ann reason="x"';
const FORGED_JSON =
  '{"time":"2026-11-26T10:00:00.000Z","level":"warn","event":"login-refused","conn":1,"peer":"6.6.6.6:1","code":"bad_credentials"}';
// At most ten: the log summarises more of one address.
const FORGED = [
  FORGED_TEXT,
  FORGED_JSON,
  `\n${FORGED_TEXT}\n`,
  `x" code=a\n${FORGED_TEXT}`,
  `","event":"x"}\r\n${FORGED_JSON}`,
  '","level":"warn","event":"key-refused","conn":1,"peer":"6.6.6.6:1",',
  " warn  key-refused conn=1 peer=6.6.6.6:1",
  `a host parley[1]: ${FORGED_TEXT}`,
  `Nov 26 10:00:00 host parley[1]: ${FORGED_TEXT}`,
  `\nhost parley[1]: ${FORGED_TEXT}`,
];

/** The addresses that the filter finds in `log`, each as often as it does. */
async function found(log: string, folder: string): Promise<string[]> {
  const filter = join(folder, "parley.conf");
  writeFileSync(filter, FILTER);
  return linesOf(["fail2ban-regex", "-o", "ip", log, filter]);
}

async function linesOf(argv: string[]): Promise<string[]> {
  const child = Bun.spawn(argv, { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${stdout}${stderr}`);
  return stdout.split("\n").filter((line) => line !== "");
}

/** What syslog writes before a line of the log, in both of its forms. */
const SYSLOG = [
  "Nov  6 10:00:00 a-host.example parley[123]: ",
  "2026-11-26T10:00:00.123456+01:00 a-host parley[123]: ",
];

/** As FilterSystemd of fail2ban has an entry of the journal: a time, then host, program, its number and the message. */
const READ_JOURNAL = `
import sys, time
sys.path.insert(0, "/usr/lib/python3/dist-packages")
from fail2ban.client.configparserinc import SafeConfigParserWithIncludes
from fail2ban.server.filter import Filter
config = SafeConfigParserWithIncludes()
config.read(sys.argv[1])
filter = Filter(None)
for regex in config.get("Definition", "failregex").splitlines(): filter.addFailRegex(regex)
for line in open(sys.argv[2]).read().splitlines():
    entry = ("", "2026-11-26T10:00:00.000000 ", "a-host parley[123]: " + line)
    for failure in filter.processLine(entry, time.time()): print(failure[1])
`;

/** The addresses that the filter finds where the lines of `log` are entries of the journal. */
function foundInJournal(log: string, folder: string): Promise<string[]> {
  const filter = join(folder, "parley.conf");
  writeFileSync(filter, FILTER);
  return linesOf(["/usr/bin/python3", "-c", READ_JOURNAL, filter, log]);
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
    const refused = ["127.0.0.2", "127.0.0.3", "127.0.0.4", ...FORGED.map(() => "127.0.0.6"), "127.0.0.7"];
    expect((await found(log, data)).toSorted()).toEqual(refused);
    expect((await foundInJournal(log, data)).toSorted()).toEqual(refused);
    for (const before of SYSLOG) {
      const kept = join(data, "syslog");
      writeFileSync(kept, readFileSync(log, "utf8").replaceAll(/^(?=.)/gm, before));
      expect((await found(kept, data)).toSorted()).toEqual(refused);
    }
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
