// How many changes of one user file four processes make in a second, how they share that, and how long a change waits.
//
//     bun scripts/bench-writers.ts [USERS [SECONDS [WAITING]]]
//
// USERS are in the file before; WAITING changes of each process wait at once, as logins do. A Markdown table on stdout.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { addUser, touchUser, credentialStamp } from "../src/auth/accounts.ts";
import { emptyDocument, formatDocument } from "../src/auth/document.ts";
import { FileStore } from "../src/auth/file-store.ts";
import { tempFolder } from "../test/support/folder.ts";

const PROCESSES = 4;
const [users = 100_000, seconds = 5, waiting = 50] = process.argv.slice(2).map(Number);
const nameOf = (n: number) => `user-${n}`;

/** The half that changes: argv of a process that this script starts. */
async function work(path: string): Promise<void> {
  const store = new FileStore(path);
  const stop = store.watch({ changed: () => undefined, unreadable: (error) => console.error(error) });
  process.stdout.write("ready\n");
  for await (const _ of Bun.stdin.stream()) break; // all begin at once
  const end = performance.now() + seconds * 1000;
  const times: number[] = [];
  const change = async () => {
    while (performance.now() < end) {
      const name = nameOf(Math.floor(Math.random() * users));
      const since = performance.now();
      await store.change((draft) => {
        const user = draft.users.get(name);
        if (user !== undefined) touchUser(draft, name, credentialStamp(user), new Date());
      });
      times.push(performance.now() - since);
    }
  };
  await Promise.all(Array.from({ length: waiting }, change));
  stop();
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(share * times.length)] ?? 0;
  process.stdout.write(
    `${JSON.stringify({ count: times.length, p50: at(0.5), p99: at(0.99), most: times.at(-1) })}\n`,
  );
}

async function measure(): Promise<void> {
  using folder = tempFolder();
  const path = join(folder.path, "users.json");
  const document = emptyDocument();
  document.isJournaled = true;
  for (let n = 0; n < users; n++) addUser(document, nameOf(n), "h".repeat(97), new Date());
  writeFileSync(path, formatDocument(document), { mode: 0o600 });
  const workers = Array.from({ length: PROCESSES }, () => {
    const argv = [process.execPath, import.meta.path, String(users), String(seconds), String(waiting), path];
    const worker = Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    return { worker, lines: linesOf(worker.stdout) };
  });
  for (const { lines } of workers) await lines.next();
  for (const { worker } of workers) {
    void worker.stdin.write("go\n");
    void worker.stdin.flush();
  }
  const results = await Promise.all(
    workers.map(async ({ lines }) => JSON.parse((await lines.next()).value ?? "") as Record<string, number>),
  );
  for (const { worker } of workers) worker.kill();
  const counts = results.map(({ count = 0 }) => count);
  const all = counts.reduce((sum, count) => sum + count, 0);
  const share = (100 * Math.min(...counts) * PROCESSES) / all;
  const most = (name: string) => Math.max(...results.map((result) => result[name] ?? 0)).toFixed(1);
  console.log("| users | changes a second | slowest, of its share | p50 | p99 | longest |");
  console.log("| ---: | ---: | ---: | ---: | ---: | ---: |");
  console.log(
    `| ${users} | ${Math.round(all / seconds)} | ${Math.round(share)} % | ${most("p50")} ms | ${most("p99")} ms | ${most("most")} ms |`,
  );
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

const path = process.argv[5];
await (path === undefined ? measure() : work(path));
