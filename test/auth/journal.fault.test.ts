// A disk that fails beside a store with a journal: what was acknowledged is there, what was refused is not, the refusal names the
// file, and the next change works when the fault is gone.

import { expect, test } from "bun:test";
import { appendFileSync, chmodSync, cpSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { addUser } from "../../src/auth/accounts.ts";
import { FileStore } from "../../src/auth/file-store.ts";
import { MIN_FOLD_BYTES } from "../../src/base/limits.ts";
import { tempFolder } from "../support/folder.ts";
import { asPerson, lacks, SERVICE, withFault } from "../support/privileges.ts";
import type { Tried } from "../support/trier.ts";

const TRIER = join(import.meta.dir, "../support/trier.ts");
const adding = (name: string) => (draft: Parameters<typeof addUser>[0]) =>
  void addUser(draft, name, "h".repeat(200), new Date());

/** A store with a journal that is folded within the next changes. */
async function nearlyFull(data: string): Promise<string> {
  mkdirSync(data, { mode: 0o700 });
  const path = join(data, "users.json");
  const store = new FileStore(path);
  await store.change((draft) => {
    for (let n = 0; n < 300; n++) adding(`first-${n}`)(draft);
  });
  const journal = join(data, "users.journal");
  for (let n = 0; n === 0 || statSync(journal).size < MIN_FOLD_BYTES - 1500; n++)
    await store.change(adding(`then-${n}`));
  return path;
}

/** Tries changes under `prefix`, and returns what became of them. */
async function tried(path: string, prefix: string[], count = 12, names = "t"): Promise<Tried[]> {
  const command = [...prefix, process.execPath, TRIER, path, String(count), names];
  const trier = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const text = await trier.stdout.text();
  expect([names, await trier.exited]).toEqual([names, 0]);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Tried);
}

/** Expects the store to have what was acknowledged, and nothing that was refused. */
function expectKept(what: string, path: string, all: Tried[]): void {
  const { users } = new FileStore(path).document;
  const lost = all.filter(({ name, failure }) => failure === undefined && !users.has(name));
  const made = all.filter(({ name, failure }) => failure?.code === "unwritable" && users.has(name));
  expect([what, lost, made]).toEqual([what, [], []]);
  expect([what, users.has("first-0"), users.has("then-0")]).toEqual([what, true, true]);
}

test.skipIf(lacks("strace"))(
  "whatever system call fails once, the refused change is not made, and the next one is",
  async () => {
    using folder = tempFolder();
    await nearlyFull(join(folder.path, "base"));
    const failures: Record<string, number> = {};
    for (const [call, errors, when] of [
      ["pwrite64", ["ENOSPC", "EIO", "EDQUOT"], "2"],
      ["fsync", ["EIO", "ENOSPC"], "1"],
      ["ftruncate", ["EIO"], "1"],
      ["rename", ["EIO", "ENOSPC"], "1"],
      ["rename", ["EDQUOT"], "2"],
      ["openat", ["EMFILE", "EACCES"], "5"],
    ] as const) {
      for (const error of errors) {
        const what = `${call} ${error} ${when}`;
        const data = join(folder.path, what.replaceAll(/\W/g, "-"));
        cpSync(join(folder.path, "base"), data, { recursive: true });
        const path = join(data, "users.json");
        const journal = join(data, "users.journal");
        if (call === "ftruncate") appendFileSync(journal, '{"rev"'); // a torn end, which is cut off
        const only = call === "openat" ? journal : undefined;
        const fault = withFault(`${call}:error=${error}:when=${when}`, only);
        const all = await tried(path, fault);
        const failed = all.filter(({ failure }) => failure !== undefined);
        failures[call] = (failures[call] ?? 0) + failed.length;
        for (const { failure } of failed) {
          expect([what, failure?.message]).toEqual([what, expect.stringContaining(data)]);
        }
        expectKept(what, path, all);
        expect([what, all.findLast(({ name }) => name.startsWith("t-"))?.failure]).toEqual([what, undefined]);
        const after = await tried(path, [], 1, "after");
        expect([what, after]).toEqual([what, [{ name: "after-0" }]]);
        expectKept(what, path, [...all, ...after]);
        expect(readdirSync(data).filter((name) => name.endsWith(".tmp"))).toEqual([]);
      }
    }
    const some = expect.any(Number);
    expect(failures).toEqual({ pwrite64: 3, fsync: some, ftruncate: 1, rename: some, openat: 2 });
    expect(Object.values(failures)).not.toContain(0);
  },
  120_000,
);

const MOUNT = ["unshare", "--mount"];
const canMount = () => Bun.spawnSync([...MOUNT, "true"]).exitCode === 0;

test.skipIf(lacks("unshare") || !canMount())(
  "a disk that fills up refuses changes, with a torn line at most, and takes them again when there is room",
  async () => {
    using folder = tempFolder();
    const [base, data, out] = ["base", "data", "out"].map((name) => join(folder.path, name)) as [
      string,
      string,
      string,
    ];
    await nearlyFull(base);
    for (const made of [data, out]) mkdirSync(made, { mode: 0o700 });
    const pages = Math.ceil((statSync(join(base, "users.json")).size + MIN_FOLD_BYTES) / 4096) + 2;
    // The disk has room for a few lines and for no fold; later for everything. Its files are copied to where the test finds them.
    const script = `
      mount -t tmpfs -o size=$1k,mode=700 none "$2" && cp -a "$3/." "$2" || exit 9
      shift 3
      "$@" 30 full || exit 8
      cp -a "$DATA/." "$OUT" && mount -o remount,size=64m "$DATA" || exit 7
      "$@" 3 room || exit 6
      mkdir -m 700 "$OUT/later" && cp -a "$DATA/users.json" "$DATA/users.journal" "$OUT/later"`;
    const command = ["sh", "-c", script, "sh", String(4 * pages), data, base];
    const trier = Bun.spawn([...MOUNT, ...command, process.execPath, TRIER, join(data, "users.json")], {
      stdout: "pipe",
      stderr: "inherit",
      env: { ...process.env, DATA: data, OUT: out },
    });
    const text = await trier.stdout.text();
    expect(await trier.exited).toBe(0);
    const all = text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Tried);
    const full = all.filter(({ name }) => name.startsWith("full"));
    const failed = full.filter(({ failure }) => failure !== undefined);
    expect(failed.length).toBeGreaterThan(0);
    expect(full.length).toBeGreaterThan(failed.length);
    for (const { failure } of failed) {
      expect(failure).toMatchObject({
        code: "unwritable",
        message: expect.stringMatching(/^cannot write \/.*users\.j(ournal|son): the disk is full$/),
      });
    }
    expectKept("full", join(out, "users.json"), full);
    const later = all.filter(({ name }) => name.startsWith("room"));
    expect(later).toEqual([{ name: "room-0" }, { name: "room-1" }, { name: "room-2" }]);
    expectKept("room", join(out, "later", "users.json"), [...full, ...later]);
  },
  60_000,
);

test.skipIf(lacks("setpriv"))(
  "a folder that takes no new file refuses changes, and keeps what it has",
  async () => {
    using folder = tempFolder();
    chmodSync(folder.path, 0o755);
    const data = join(folder.path, "data");
    const path = await nearlyFull(data);
    await Bun.$`chown -R ${SERVICE.uid}:${SERVICE.gid} ${data}`;
    chmodSync(data, 0o500);
    const all = await tried(path, asPerson(SERVICE));
    const refused = all.filter(({ failure }) => failure !== undefined);
    for (const { failure } of refused) {
      expect(failure).toMatchObject({
        code: "unwritable",
        message: expect.stringMatching(/^cannot write .*users\.json: permission denied$/),
      });
    }
    chmodSync(data, 0o700);
    expectKept("read-only", path, all);
    expect(await tried(path, asPerson(SERVICE), 1, "after")).toEqual([{ name: "after-0" }]);
  },
);
