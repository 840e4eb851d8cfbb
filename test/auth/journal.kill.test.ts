// A process that changes a store with a journal is killed at one system call after another, also while it folds: whatever was
// acknowledged is there, and changes go on.

import { expect, test } from "bun:test";
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseDocument } from "../../src/auth/document.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { MIN_FOLD_BYTES } from "../../src/base/limits.ts";
import { adding } from "../support/changes.ts";
import { tempFolder } from "../support/folder.ts";
import { owed } from "../support/owed.ts";
import { lacks, withFault } from "../support/privileges.ts";

const WRITER = join(import.meta.dir, "../support/writer.ts");
/** More acknowledgements than any fault here lets come. */
const ENOUGH = 60;

/** A store with a journal that is folded within the next changes. */
async function nearlyFull(folder: string): Promise<string> {
  const path = join(folder, "users.json");
  const store = new FileStore(path);
  await store.change((draft) => {
    for (let n = 0; n < 300; n++) adding(`first-${n}`)(draft);
  });
  const journal = join(folder, "users.journal");
  for (let n = 0; n === 0 || statSync(journal).size < MIN_FOLD_BYTES - 500; n++)
    await store.change(adding(`then-${n}`));
  return path;
}

/** Runs a writer with the fault, and returns what it acknowledged, and whether the fault has ended it. */
async function writeUntil(path: string, fault: string): Promise<{ names: string[]; isHit: boolean }> {
  const command = [...withFault(fault), process.execPath, WRITER, path];
  const writer = Bun.spawn(command, { stdout: "pipe", stderr: "inherit", detached: true });
  let text = "";
  let isHit = true;
  const decoder = new TextDecoder();
  for await (const chunk of writer.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (!isHit || text.split("\n").length < ENOUGH) continue;
    isHit = false;
    process.kill(-writer.pid, "SIGKILL");
  }
  await writer.exited;
  return { names: text.split("\n").slice(0, -1), isHit };
}

test.skipIf(lacks("strace"))(
  "whatever system call a kill comes at, every acknowledged user is there",
  async () => {
    using folder = tempFolder();
    const base = join(folder.path, "base");
    mkdirSync(base, { mode: 0o700 });
    await nearlyFull(base);
    const hits: Record<string, number> = {};
    let folds = 0;
    for (const call of ["pwrite64", "fsync", "rename", "openat", "ftruncate"]) {
      for (const when of call === "rename" ? [1, 2, 3, 4] : [1, 2, 3, 4, 6, 9]) {
        const data = join(folder.path, `${call}-${when}`);
        cpSync(base, data, { recursive: true });
        const path = join(data, "users.json");
        const before = readFileSync(path, "utf8");
        const skip = call === "openat" ? 200 : 0;
        const { names, isHit } = await writeUntil(path, `${call}:signal=SIGKILL:when=${skip + when}`);
        if (isHit) hits[call] = (hits[call] ?? 0) + 1;
        if (readFileSync(path, "utf8") !== before) folds++;
        const store = new FileStore(path);
        const { users } = store.document;
        const { there, gone } = owed(names);
        expect([call, when, there.filter((name) => !users.has(name))]).toEqual([call, when, []]);
        expect([call, when, gone.filter((name) => users.has(name))]).toEqual([call, when, []]);
        expect([call, when, users.has("first-0"), users.has("then-0")]).toEqual([call, when, true, true]);
        const { size } = users;
        await store.change(adding("last"));
        expect([call, when, new FileStore(path).document.users.size]).toEqual([call, when, size + 1]);
        await store.close();
        expect(parseDocument(readFileSync(path, "utf8"), path).users.size).toBe(size + 1);
        expect(readdirSync(data).filter((name) => name.endsWith(".tmp"))).toEqual([]);
      }
    }
    expect(hits).toMatchObject({
      pwrite64: expect.any(Number),
      fsync: expect.any(Number),
      rename: expect.any(Number),
    });
    expect(folds).toBeGreaterThan(0);
  },
  120_000,
);
