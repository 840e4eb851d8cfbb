// Every client in one chat: the oldest and the newest Python, `parley connect`, and parley.ts with Bun and with Node. All hear the
// same lines in the same order, whatever language they are in; and each hears that another has left.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { addUser, cleanEnv, EXECUTABLE, PASSWORD, serve, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findNode, stripTypes } from "../support/node.ts";
import { findPythons } from "../support/pythons.ts";
import { Watched } from "../support/watched.ts";

setDefaultTimeout(90_000);

const SAID = ["hello", "привет, мир", "你好,世界", "Ёж и ёлка", "繁體字 𠮷", "😀 👩‍👩‍👧"];

const pythons = findPythons().toSorted((a, b) => a.version.localeCompare(b.version, "en", { numeric: true }));
const node = findNode();

type Member = ReturnType<typeof enter>;

/** Starts a program as a member of the chat. */
function enter(name: string, argv: string[]) {
  const folder = tempFolder();
  const child = Bun.spawn(argv, {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    env: cleanEnv(folder.path, {
      PARLEY_PASSWORD: PASSWORD,
      PYTHONIOENCODING: "utf-8",
      PYTHONDONTWRITEBYTECODE: "1",
    }),
  });
  const heard = new Watched();
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) heard.append(decoder.decode(chunk, { stream: true }));
    heard.end();
  })();
  const ended = Promise.all([child.exited, child.stderr.text(), reading]);
  return {
    name,
    heard,
    /** What all hear: without the answer to this member alone. */
    lines: () => heard.text.split("\n").filter((line) => line !== "" && !line.startsWith("* here: ")),
    say(lines: readonly string[]) {
      void child.stdin.write(lines.map((line) => `${line}\n`).join(""));
      void child.stdin.flush();
    },
    /** Ends its input; its exit code, and what it has complained of. */
    async leave() {
      void child.stdin.end();
      const [code, complaint] = await ended;
      return [code, complaint];
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
      folder[Symbol.dispose]();
    },
  };
}

/** The programs of this machine: for each the name of its user, and its words. */
function programs(
  { port, address, ready }: Serving,
  scratch: string,
  keyFile?: string,
): [string, string[]][] {
  const trust = keyFile === undefined ? {} : { pin: ready["tls"], key: readFileSync(keyFile, "utf8").trim() };
  const options = (user: string, more: object = {}) =>
    JSON.stringify({ user, password: PASSWORD, ...trust, ...more });
  const flags = keyFile === undefined ? [] : ["--pin", String(ready["tls"]), "--key-file", keyFile];
  const ends = pythons.length > 1 ? [pythons[0]!, pythons.at(-1)!] : pythons;
  const here = { host: "127.0.0.1", port };
  return [
    ...ends.map(({ path }, index): [string, string[]] => {
      const name = index === 0 ? "oldest" : "newest";
      return [name, [path, join(import.meta.dir, "chat.py"), String(port), options(name)]];
    }),
    ["connect", [EXECUTABLE, "connect", `connect@${address}`, ...flags]],
    ["bun", [process.execPath, join(import.meta.dir, "chat.ts"), options("bun", here)]],
    ...(node === undefined
      ? []
      : [
          ["node", [node, join(scratch, "test/interop/chat.mjs"), options("node", here)]] as [
            string,
            string[],
          ],
        ]),
  ];
}

test.each(["plain", "TLS with a pin and a shared key"])("they hear the same: %s", async (way) => {
  using folder = tempFolder();
  stripTypes(folder.path, ["clients/typescript/parley.ts", "test/interop/chat.ts"]);
  for (const name of ["oldest", "newest", "connect", "bun", "node"]) await addUser(folder.path, name);
  const keyFile = way === "plain" ? undefined : join(folder.path, "shared-key");
  const flags = keyFile === undefined ? [] : ["--tls", "--key-file", keyFile];
  await using server = await serve(["--service", "chat", ...flags], { data: folder.path });
  await using stack = new AsyncDisposableStack();
  const members: Member[] = [];
  for (const [name, argv] of programs(server, folder.path, keyFile)) {
    members.push(stack.use(enter(name, argv)));
    await Promise.all(members.map(({ heard }) => heard.see(`* ${name} joined\n`)));
  }

  // All speak at once.
  for (const member of members) member.say(SAID);
  const lasts = members.map(({ name }) => `${name}: ${SAID.at(-1)}\n`);
  await Promise.all(members.flatMap(({ heard }) => lasts.map((last) => heard.see(last))));
  const lines = members[0]!.lines();
  for (const member of members) {
    expect(member.lines()).toEqual(lines);
    const own = lines.filter((line) => line.startsWith(`${member.name}: `));
    expect(own).toEqual(SAID.map((line) => `${member.name}: ${line}`));
  }
  expect(lines).toHaveLength(members.length * (SAID.length + 1));

  // Then one leaves after the other, and the last one who is there answers.
  const staying = [...members];
  for (let leaving = staying.shift(); leaving !== undefined; leaving = staying.shift()) {
    expect([leaving.name, ...(await leaving.leave())]).toEqual([leaving.name, 0, ""]);
    expect(leaving.lines()).toEqual(lines);
    const farewell = `* ${leaving.name} left`;
    await Promise.all(staying.map(({ heard }) => heard.see(`${farewell}\n`)));
    const answer = `再见, прощай, ${leaving.name}`;
    staying.at(-1)?.say([answer]);
    await Promise.all(staying.map(({ heard }) => heard.see(`${answer}\n`)));
    lines.push(farewell, `${staying.at(-1)?.name}: ${answer}`);
    for (const member of staying) expect(member.lines()).toEqual(lines);
  }
  await server.stop();
});
