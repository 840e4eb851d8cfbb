// The file on the disk: private, replaced whole or left as it was, whatever stands in the way of that.

import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { LockedFile } from "../../src/files/locked-file.ts";
import { makePrivateFolder } from "../../src/files/create.ts";
import { FileError } from "../../src/files/file-error.ts";
import { tempFolder } from "../support/folder.ts";

/** For `catch`: what was thrown, to be looked at. */
const thrown = (error: unknown) => error;

const LOCK = ".users.json.lock";
const IS_ROOT = process.geteuid?.() === 0;
const NOBODY = 65_534;

/** What another process that tries a change of 1 MB at `path` says became of it; ended if that takes a minute. */
function changeElsewhere(path: string, shell: string): Promise<string> {
  const code = `
    import { LockedFile } from "${join(import.meta.dir, "../../src/files/locked-file.ts")}";
    const file = new LockedFile(process.argv.at(-1));
    const told = await file.update(() => "x".repeat(1e6)).catch((e) => [e.code, e.message, e.hint].join("; "));
    console.log(told);`;
  const command = ["bash", "-c", `${shell} exec "$@"`, "bash", process.execPath, "-e", code, path];
  return Bun.spawn(command, { stdout: "pipe", stderr: "inherit", timeout: 60_000 }).stdout.text();
}

function modeOf(path: string): string {
  return (fs.lstatSync(path).mode & 0o7777).toString(8);
}

function usersFile(folder: string, text?: string): string {
  const path = join(folder, "users.json");
  if (text !== undefined) fs.writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** Runs `action` as somebody whom permissions concern, with `folder` theirs. */
async function unprivileged(folder: string, action: () => unknown): Promise<void> {
  if (IS_ROOT) fs.chownSync(folder, NOBODY, NOBODY);
  if (IS_ROOT) process.seteuid?.(NOBODY);
  try {
    await action();
  } finally {
    if (IS_ROOT) process.seteuid?.(0);
  }
}

/** The modes of file and lock after two changes. */
async function modesUnder(umask: string): Promise<string[]> {
  using folder = tempFolder();
  const file = new LockedFile(usersFile(folder.path));
  const before = process.umask(Number.parseInt(umask, 8));
  try {
    for (const text of ["first", "second"]) await file.update(() => text);
  } finally {
    process.umask(before);
  }
  return [modeOf(file.path), modeOf(join(folder.path, LOCK))];
}

describe("a change", () => {
  test("makes a missing file, and its stamp is the one it has from then on", async () => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path));
    expect(file.read()).toEqual({ text: null, stamp: "" });
    expect(file.stamp()).toBe("");
    const stamp = await file.update((current) => `was ${current.text}`);
    expect(file.read()).toEqual({ text: "was null", stamp });
    expect(file.stamp()).toBe(stamp);
    expect(await file.update(() => "was null")).not.toBe(stamp);
  });

  test.each(["000", "022", "077", "177"])(
    "leaves file and lock at mode 600 under umask %s",
    async (umask) => {
      expect(await modesUnder(umask)).toEqual(["600", "600"]);
    },
  );

  test.each(["277", "777"])("leaves file and lock at mode 600 under umask %s", async (umask) => {
    expect(await modesUnder(umask)).toEqual(["600", "600"]);
  });

  test("that throws, or has nothing to say, leaves the very file, and the next has its turn", async () => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path, "old"));
    const stamp = file.stamp();
    const refuse = () => {
      throw new RangeError("no");
    };
    expect(await file.update(refuse).catch(thrown)).toBeInstanceOf(RangeError);
    expect(await file.update(() => null)).toBe(stamp);
    expect(file.stamp()).toBe(stamp);
    await file.update(({ text }) => `${text}, new`);
    expect(fs.readFileSync(file.path, "utf8")).toBe("old, new");
  });

  test("removes its own temporary files that killed processes left, and nothing else", async () => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path, "old"));
    const digits = "00112233aabb";
    const other = `.users.json.bak.1.${digits}.tmp`;
    const kept = [`.other.json.1.${digits}.tmp`, other, ".users.json.swp", "users.json.tmp"];
    for (const name of [`.users.json.1.${digits}.tmp`, `.users.json.22.${digits}.tmp`, ...kept]) {
      fs.writeFileSync(join(folder.path, name), "half");
    }
    await file.update(() => "new");
    expect(fs.readdirSync(folder.path).sort()).toEqual([...kept, LOCK, "users.json"].sort());
  });

  test.skipIf(!IS_ROOT)("by root leaves the file to whom it belonged", async () => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path, "old"));
    fs.chownSync(file.path, NOBODY, NOBODY);
    await file.update(() => "new");
    expect(fs.statSync(file.path)).toMatchObject({ uid: NOBODY, gid: NOBODY });
  });

  test("that the disk does not take leaves every byte of the old file, and no other", async () => {
    using folder = tempFolder();
    const old = "old".repeat(2000);
    const path = usersFile(folder.path, old);
    const told = await changeElsewhere(path, "trap '' XFSZ; ulimit -f 64;");
    expect(told).toBe(
      `unwritable; cannot write ${path}: EFBIG; fix the cause and try again: the file is unchanged\n`,
    );
    expect(fs.readFileSync(path, "utf8")).toBe(old);
    expect(fs.readdirSync(folder.path).sort()).toEqual([LOCK, "users.json"]);
  });
});

describe("symbolic links", () => {
  test.each([true, false])("are followed and kept, the file being there: %p", async (there) => {
    using folder = tempFolder();
    const real = join(folder.path, "real");
    fs.mkdirSync(real);
    if (there) usersFile(real, "old");
    fs.symlinkSync("real/users.json", join(folder.path, "inner"));
    fs.symlinkSync(join(folder.path, "inner"), join(folder.path, "outer"));
    const file = new LockedFile(join(folder.path, "outer"));
    expect(file.read().text).toBe(there ? "old" : null);
    await file.update(() => "new");
    expect(fs.readlinkSync(join(folder.path, "inner"))).toBe("real/users.json");
    expect(fs.readdirSync(folder.path).sort()).toEqual(["inner", "outer", "real"]);
    expect(fs.readFileSync(usersFile(real), "utf8")).toBe("new");
    expect(file.target).toBe(join(fs.realpathSync(real), "users.json"));
  });

  test("with .. in them lead from where they really are", async () => {
    using folder = tempFolder();
    const at = (name: string) => join(folder.path, name);
    for (const name of ["big", "big/parley", "big/shared", "shared"]) fs.mkdirSync(at(name), { mode: 0o700 });
    usersFile(at("big/shared"), "right");
    fs.symlinkSync("big/parley", at("parley"));
    fs.symlinkSync("../shared/users.json", at("big/parley/users.json"));
    const file = new LockedFile(at("parley/users.json"));
    expect(file.read().text).toBe("right");
    await file.update(() => "new");
    expect(fs.readFileSync(at("big/shared/users.json"), "utf8")).toBe("new");
    expect(fs.readdirSync(at("shared"))).toEqual([]);
  });

  test("that are turned during a change: it is not made, in neither file", async () => {
    using folder = tempFolder();
    const at = (name: string) => join(folder.path, name);
    for (const name of ["a.json", "b.json"]) fs.writeFileSync(at(name), name, { mode: 0o600 });
    fs.symlinkSync("a.json", at("users.json"));
    const file = new LockedFile(at("users.json"));
    const change = file.update(({ text }) => {
      fs.rmSync(at("users.json"));
      fs.symlinkSync("b.json", at("users.json"));
      return `${text}, changed`;
    });
    expect(await change.catch(thrown)).toMatchObject({ code: "locked" });
    const texts = () => ["a.json", "b.json"].map((name) => fs.readFileSync(at(name), "utf8"));
    expect(texts()).toEqual(["a.json", "b.json"]);
    await file.update(({ text }) => `${text}, changed`);
    expect(texts()).toEqual(["a.json", "b.json, changed"]);
  });

  test("in a circle are refused", () => {
    using folder = tempFolder();
    fs.symlinkSync("users.json", usersFile(folder.path));
    const refused = expect.objectContaining({ code: "unreadable" });
    expect(() => new LockedFile(usersFile(folder.path))).toThrow(refused);
  });
});

describe("refused, and left alone:", () => {
  test("a FIFO, without waiting for its other end", async () => {
    using folder = tempFolder();
    const path = usersFile(folder.path);
    expect(Bun.spawnSync(["mkfifo", "-m", "600", path]).exitCode).toBe(0);
    const told = await changeElsewhere(path, "");
    expect(told).toBe(
      `unreadable; ${path} is not a regular file; use a regular file, not a folder, pipe or device\n`,
    );
    expect(fs.lstatSync(path).isFIFO()).toBe(true);
  });

  test("a folder", async () => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path));
    fs.mkdirSync(file.path);
    expect(await file.update(() => "{}").catch(thrown)).toMatchObject({
      code: "unreadable",
      message: `${file.path} is not a regular file`,
    });
    expect(fs.lstatSync(file.path).isDirectory()).toBe(true);
  });

  test.each(["644", "620", "604", "601"])("mode %s, with the command that mends it", async (mode) => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path, "old"));
    fs.chmodSync(file.path, mode);
    const unsafe = { code: "unsafe", hint: `make it private: chmod 600 ${file.path}` };
    expect(() => file.read()).toThrow(expect.objectContaining(unsafe));
    expect(await file.update(() => "new").catch(thrown)).toMatchObject(unsafe);
    expect([modeOf(file.path), fs.readFileSync(file.path, "utf8")]).toEqual([mode, "old"]);
  });

  test.skipIf(!IS_ROOT)("a file that belongs to another user", async () => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path, "old"));
    fs.chmodSync(file.path, 0o644);
    fs.chownSync(file.path, NOBODY - 1, NOBODY);
    await unprivileged(folder.path, () => {
      const theirs = { code: "unsafe", hint: `change its owner: sudo chown ${NOBODY} ${file.path}` };
      expect(() => file.read()).toThrow(expect.objectContaining(theirs));
    });
  });

  test("bytes that are not UTF-8", async () => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path));
    fs.writeFileSync(file.path, Uint8Array.of(0x7b, 0xff, 0x7d), { mode: 0o600 });
    expect(await file.update(() => "new").catch(thrown)).toMatchObject({ code: "corrupt" });
    expect(fs.readFileSync(file.path).toHex()).toBe("7bff7d");
  });

  test.each([
    [0o000, "unreadable", "unreadable"],
    [0o500, undefined, "unwritable"],
  ])("a folder of mode %o", async (mode, reading, writing) => {
    using folder = tempFolder();
    const file = new LockedFile(usersFile(folder.path, "old"));
    if (IS_ROOT) fs.chownSync(file.path, NOBODY, NOBODY);
    fs.chmodSync(folder.path, mode);
    await unprivileged(folder.path, async () => {
      if (reading === undefined) expect(file.read().text).toBe("old");
      else expect(() => file.read()).toThrow(expect.objectContaining({ name: "FileError", code: reading }));
      expect(await file.update(() => "new").catch(thrown)).toMatchObject({
        name: "FileError",
        code: writing,
      });
    });
    fs.chmodSync(folder.path, 0o700);
    expect(fs.readFileSync(file.path, "utf8")).toBe("old");
    expect(fs.readdirSync(folder.path)).toEqual(["users.json"]);
  });

  test("a folder that does not exist, by its name", () => {
    using folder = tempFolder();
    const open = () => new LockedFile(join(folder.path, "missing/users.json"));
    expect(open).toThrow(new FileError("unreadable", `there is no folder ${folder.path}/missing`));
  });
});

describe("makePrivateFolder", () => {
  test("makes it and those above it mode 700, and is content with one that is there", () => {
    using folder = tempFolder();
    const path = join(folder.path, "outer/inner");
    makePrivateFolder(path);
    makePrivateFolder(path);
    expect([modeOf(join(folder.path, "outer")), modeOf(path)]).toEqual(["700", "700"]);
  });

  test("says what is in the way", () => {
    using folder = tempFolder();
    const inside = join(usersFile(folder.path, "old"), "inner");
    const failed = { code: "unwritable", hint: "choose another folder with --data DIR" };
    expect(() => makePrivateFolder(inside)).toThrow(expect.objectContaining(failed));
  });
});
