// Eight processes write the store while one of them after another is killed: whatever was acknowledged is in the file,
// and a reader never sees half of it. PARLEY_KILLS=200 makes it a long run, and prints its figures.

import { expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { addUser } from "../../src/auth/accounts.ts";
import type { Document } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { tempFolder } from "../support/folder.ts";
import { owed } from "../support/owed.ts";

const KILLS = Number(process.env["PARLEY_KILLS"] ?? 40);
const WRITERS = 8;
/** Between two kills, at most: so many acknowledgements, and then looks at the file, to strike at any step of a change. */
const PACE = { acknowledgements: 6, looks: 60 };
/** From 1 up to `most`. */
const some = (most: number) => 1 + Math.floor(Math.random() * most);

/** What the writers said, and when. */
class Acknowledged {
  readonly names = new Set<string>();
  longestStallMs = 0;
  #last = performance.now();
  #wake: (() => void) | undefined;

  add(name: string): void {
    this.names.add(name);
    this.longestStallMs = Math.max(this.longestStallMs, performance.now() - this.#last);
    this.#last = performance.now();
    this.#wake?.();
  }

  next(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }
}

/** A writer whose every whole line is taken down; `ended` gives what it died of once all of them were. */
function startWriter(path: string, acknowledged: Acknowledged) {
  const command = [process.execPath, join(import.meta.dir, "../support/writer.ts"), path];
  const writer = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const ended = (async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of writer.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) acknowledged.add(line);
    }
    await writer.exited;
    return String(writer.signalCode ?? writer.exitCode);
  })();
  return { ended, kill: () => writer.kill("SIGKILL") };
}

/** One whole look at the file and its journal, by a process that starts now. */
function look(path: string): { document: Readonly<Document>; mode: number } {
  return { document: new FileStore(path).document, mode: statSync(path).mode & 0o777 };
}

/** Looks at the file again and again until `stop`; anything but a whole, private, ever newer one is thrown. */
function readWithoutPause(path: string) {
  let [reads, rev, stopped] = [0, 0, false];
  let looked = Promise.withResolvers<void>();
  const done = (async () => {
    for (; !stopped; reads++) {
      const { document, mode } = look(path);
      if (mode !== 0o600) throw new Error(`mode ${mode.toString(8)}`);
      if (document.rev < rev) throw new Error(`rev ${document.rev} after ${rev}`);
      rev = document.rev;
      looked.resolve();
      looked = Promise.withResolvers();
      await new Promise((resolve) => setImmediate(resolve));
    }
    return reads;
  })();
  return {
    done,
    /** Resolves after the next look. */
    look: () => looked.promise,
    stop: () => {
      stopped = true;
      return done;
    },
  };
}

test.each([
  ["few users", 1],
  ["many users, and a journal", 300],
])(
  `%s: after ${KILLS} kills every acknowledged change is there, no read was torn, and changes go on`,
  async (_, count) => {
    using folder = tempFolder();
    const path = join(folder.path, "users.json");
    await new FileStore(path).change((draft) => {
      for (let n = 0; n < count; n++) addUser(draft, `first-${n}`, "hash", new Date());
    });

    const acknowledged = new Acknowledged();
    const ends: Promise<string>[] = [];
    const start = () => {
      const writer = startWriter(path, acknowledged);
      ends.push(writer.ended);
      return writer;
    };
    const writers = Array.from({ length: WRITERS }, start);
    const reader = readWithoutPause(path);
    const killing = async () => {
      for (let kills = 0; kills < KILLS; kills++) {
        for (let left = some(PACE.acknowledgements); left > 0; left--) await acknowledged.next();
        for (let left = some(PACE.looks); left > 0; left--) await reader.look();
        const victim = Math.floor(Math.random() * WRITERS);
        writers[victim]?.kill();
        writers[victim] = start();
      }
    };
    try {
      await Promise.race([killing(), reader.done]);
    } finally {
      for (const writer of writers) writer.kill();
    }
    const signals = await Promise.all(ends);
    const reads = await reader.stop();
    expect(signals).toEqual(Array(KILLS + WRITERS).fill("SIGKILL"));

    const { users } = look(path).document;
    const { there, gone } = owed(acknowledged.names);
    const lost = [...there.filter((name) => !users.has(name)), ...gone.filter((name) => users.has(name))];
    if (process.env["PARLEY_KILLS"] !== undefined) {
      const stall = Math.round(acknowledged.longestStallMs);
      console.log({ kills: KILLS, acknowledged: acknowledged.names.size, lost: lost.length, stall, reads });
    }
    expect(lost).toEqual([]);
    expect(acknowledged.names.size).toBeGreaterThanOrEqual(KILLS);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const isStray = (name: string) => name.endsWith(".tmp");
    expect(readdirSync(folder.path).filter(isStray).length).toBeLessThanOrEqual(1);

    await new FileStore(path).change((draft) => addUser(draft, "last", "hash", new Date()));
    expect([...look(path).document.users.keys()].sort()).toEqual([...users.keys(), "last"].sort());
    const strays = readdirSync(folder.path).filter((name) => !name.startsWith("users."));
    expect(strays).toEqual([".users.json.lock"]);
    if (count >= 300) expect(existsSync(join(folder.path, "users.journal"))).toBe(true);
  },
  60_000 + 2000 * KILLS,
);
