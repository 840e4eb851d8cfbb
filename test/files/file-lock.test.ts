// Turns: one process at a time changes a file, nobody's change is lost, and a dead process holds nobody up.

import { describe, expect, spyOn, test } from "bun:test";
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { flock, LOCK_EXCLUSIVE_NONBLOCKING } from "../../src/os/flock.ts";
import { LockedFile } from "../../src/files/locked-file.ts";
import { LOCK_TIMEOUT_MS } from "../../src/base/limits.ts";
import { tempFolder } from "../support/folder.ts";

/** For `catch`: what was thrown, to be looked at. */
const thrown = (error: unknown) => error;

const count = ({ text }: { text: string | null }) => String(Number(text) + 1);

function openLock(folder: string): number {
  return openSync(join(folder, ".count.lock"), "a", 0o600);
}

/** A process that has the lock of `count` in `folder`; told anything, it says what the file holds and lets go. */
async function holder(folder: string) {
  const code = `
    import { openSync, readFileSync, writeSync } from "node:fs";
    import { flock } from "${join(import.meta.dir, "../../src/os/flock.ts")}";
    const folder = process.argv.at(-1);
    flock(openSync(folder + "/.count.lock", "a", 0o600), ${LOCK_EXCLUSIVE_NONBLOCKING});
    writeSync(1, "held ");
    await Bun.stdin.stream().getReader().read();
    writeSync(1, readFileSync(folder + "/count"));`;
  const command = [process.execPath, "-e", code, folder];
  const process_ = Bun.spawn(command, { stdin: "pipe", stdout: "pipe", stderr: "inherit", timeout: 60_000 });
  const output = process_.stdout.getReader();
  const next = async () => new TextDecoder().decode((await output.read()).value);
  expect(await next()).toBe("held ");
  return {
    async release() {
      await process_.stdin.write("go\n");
      await process_.stdin.end();
      return await next();
    },
    kill: () => process_.kill("SIGKILL"),
  };
}

describe("flock", () => {
  test("refuses a second descriptor until the first is closed", () => {
    using folder = tempFolder();
    const [first, second] = [openLock(folder.path), openLock(folder.path)];
    expect(flock(first, LOCK_EXCLUSIVE_NONBLOCKING)).toBe(true);
    expect(flock(second, LOCK_EXCLUSIVE_NONBLOCKING)).toBe(false);
    closeSync(first);
    expect(flock(second, LOCK_EXCLUSIVE_NONBLOCKING)).toBe(true);
    closeSync(second);
  });
});

describe("a change of a locked file", () => {
  test("waits while others go ahead, and is made once the lock is released", async () => {
    using folder = tempFolder();
    using elsewhere = tempFolder();
    const file = new LockedFile(join(folder.path, "count"));
    await file.update(count);
    const other = await holder(folder.path);
    const change = file.update(count);
    const free = new LockedFile(join(elsewhere.path, "count"));
    for (let i = 0; i < 10; i++) await free.update(count);
    expect(await other.release()).toBe("1");
    await change;
    expect(file.read().text).toBe("2");
  });

  test("is made as soon as the holder is killed", async () => {
    using folder = tempFolder();
    const file = new LockedFile(join(folder.path, "count"));
    const other = await holder(folder.path);
    const change = file.update(count);
    other.kill();
    await change;
    expect(file.read().text).toBe("1");
  });

  test("gives up when its time is over, and can be tried again", async () => {
    using folder = tempFolder();
    const file = new LockedFile(join(folder.path, "count"));
    const fd = openLock(folder.path);
    flock(fd, LOCK_EXCLUSIVE_NONBLOCKING);
    const clock = spyOn(performance, "now").mockReturnValueOnce(0).mockReturnValue(LOCK_TIMEOUT_MS);
    try {
      const change = file.update(count);
      clock.mockReturnValue(LOCK_TIMEOUT_MS + 1);
      expect(await change.catch(thrown)).toMatchObject({
        code: "locked",
        message: `another process has held ${folder.path}/.count.lock for 10 s`,
      });
    } finally {
      clock.mockRestore();
    }
    closeSync(fd);
    await file.update(count);
    expect(file.read().text).toBe("1");
  });
});

test("a change whose lock was taken away is not made, since another process may be at it", async () => {
  using folder = tempFolder();
  const file = new LockedFile(join(folder.path, "count"));
  await file.update(count);
  const change = file.update((current) => {
    rmSync(join(folder.path, ".count.lock"));
    return count(current);
  });
  expect(await change.catch(thrown)).toMatchObject({ code: "locked" });
  expect(file.read().text).toBe("1");
  await file.update(count);
  expect(file.read().text).toBe("2");
});

test("a lock that is removed while it is waited for is taken anew", async () => {
  using folder = tempFolder();
  const file = new LockedFile(join(folder.path, "count"));
  await file.update(count);
  const fd = openLock(folder.path);
  flock(fd, LOCK_EXCLUSIVE_NONBLOCKING);
  const change = file.update(count);
  rmSync(join(folder.path, ".count.lock")); // as one that is made once leaves no trace
  closeSync(fd);
  await change;
  expect(file.read().text).toBe("2");
});

describe("nothing is lost", () => {
  test("among changes at once by one process, through one object or several", async () => {
    using folder = tempFolder();
    const files = [1, 2].map(() => new LockedFile(join(folder.path, "count")));
    await Promise.all([...files, ...files, ...files].map((file) => file.update(count)));
    expect(files[0]?.read().text).toBe("6");
  });

  test("among changes at once by several processes", async () => {
    using folder = tempFolder();
    const path = join(folder.path, "count");
    writeFileSync(path, "0", { mode: 0o600 });
    const code = `
      import { LockedFile } from "${join(import.meta.dir, "../../src/files/locked-file.ts")}";
      const file = new LockedFile(process.argv.at(-1));
      for (let i = 0; i < 25; i++) await file.update(({ text }) => String(Number(text) + 1));`;
    const processes = [1, 2, 3, 4].map(() =>
      Bun.spawn([process.execPath, "-e", code, path], { stderr: "inherit", timeout: 60_000 }),
    );
    expect(await Promise.all(processes.map((one) => one.exited))).toEqual([0, 0, 0, 0]);
    expect(readFileSync(path, "utf8")).toBe("100");
  }, 90_000);
});
