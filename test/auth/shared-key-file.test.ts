// Key files: made once and privately, read strictly, refused with the next thing to do.

import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { ParleyError } from "../../src/base/errors.ts";
import { makeKeyFile, readKeyFile } from "../../src/auth/shared-key-file.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

let folder: TempFolder;
let path: string;
beforeEach(() => {
  folder = tempFolder();
  path = join(folder.path, "key");
});
afterEach(() => folder[Symbol.dispose]());

const HEX = "5a".repeat(32);
const write = (text: string, mode = 0o600) => {
  writeFileSync(path, text);
  chmodSync(path, mode);
};

/** What `work` says that is refused: code, message and hint on a line. */
async function refusal(work: () => unknown): Promise<string> {
  try {
    return `nothing: ${String(await work())}`;
  } catch (error) {
    if (error instanceof ParleyError) return `${String(error.code)}: ${error.message} (${error.hint ?? ""})`;
    throw error;
  }
}

test("makes 32 random bytes in hex, mode 600 whatever the umask, and only once", async () => {
  const before = process.umask(0);
  try {
    expect(await makeKeyFile(path)).toBe(true);
  } finally {
    process.umask(before);
  }
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const text = readFileSync(path, "utf8");
  expect(text).toMatch(/^[\da-f]{64}\n$/);
  expect(await makeKeyFile(path)).toBe(false);
  expect(readFileSync(path, "utf8")).toBe(text);
  expect(readdirSync(folder.path)).toEqual(["key"]); // no lock is left
  expect(readKeyFile(path).toString("hex")).toBe(text.trim());
  await makeKeyFile(`${path}2`);
  expect(readFileSync(`${path}2`, "utf8")).not.toBe(text);
});

test.each([HEX, `${HEX}\n`, `${HEX.toUpperCase()}\r\n`, ` ${HEX} \n\n`, "5a".repeat(16), "5a".repeat(500)])(
  "reads %j",
  (text) => {
    write(text);
    expect(readKeyFile(path).toString("hex")).toBe(text.trim().toLowerCase());
  },
);

test.each([
  ["", "invalid key in "],
  ["\n", "invalid key in "],
  ["garbage", "invalid key in "],
  [HEX.slice(1), "invalid key in "],
  [`0x${HEX}`, "invalid key in "],
  [`${HEX}\n${HEX}\n`, "invalid key in "],
  [`${HEX.slice(0, 32)} ${HEX.slice(32)}`, "invalid key in "],
  ["5a".repeat(15), "the key has 15 bytes and needs at least 16"],
  [`${"5a".repeat(31)}00`, "zero byte"],
])("refuses %j, and says how to make one", async (text, words) => {
  write(text);
  const said = await refusal(() => readKeyFile(path));
  expect(said).toStartWith("failed: ");
  expect(said).toContain(words);
  expect(said).toContain("openssl rand -hex 32");
  expect(said).not.toContain(HEX.slice(0, 20)); // what is in it is nobody's business
});

test.each([0o650, 0o604, 0o644, 0o660, 0o620, 0o601, 0o677])(
  "refuses one of mode %o, with the command",
  async (mode) => {
    write(HEX, mode);
    for (const work of [() => readKeyFile(path), () => makeKeyFile(path)]) {
      expect(await refusal(work)).toBe(
        `unsafe: ${path} has mode ${mode.toString(8)}: other users could read or change it ` +
          `(make it private: chmod 600 ${path})`,
      );
    }
    expect(readFileSync(path, "utf8")).toBe(HEX);
  },
);

test("that is missing is said so to whoever only reads", async () => {
  expect(await refusal(() => readKeyFile(path))).toBe(
    `failed: there is no key file ${path} (copy the key file of the server: both sides need the same key)`,
  );
});

test("that cannot be made says why, and a folder is none", async () => {
  expect(await refusal(() => makeKeyFile(join(folder.path, "none", "key")))).toBe(
    `unreadable: there is no folder ${folder.path}/none ()`,
  );
  expect(await refusal(() => readKeyFile(folder.path))).toContain("is not a regular file");
});

test("may be a symbolic link: to a key, or to where it shall be made", async () => {
  mkdirSync(join(folder.path, "real"), { mode: 0o700 });
  const target = join(folder.path, "real", "key");
  symlinkSync(target, path);
  expect(await makeKeyFile(path)).toBe(true);
  expect(readKeyFile(path)).toEqual(readKeyFile(target));
  expect(await makeKeyFile(path)).toBe(false);
});
