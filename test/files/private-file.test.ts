// Files of secrets and the folders above them, as sshd's StrictModes wants them: what is refused, and the command that
// mends it.

import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { FileError } from "../../src/files/file-error.ts";
import { resolveSymlinks, readPrivateFile } from "../../src/files/private-file.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

let folder: TempFolder;
let inner: string;
let path: string;
const createPrivateFile = (file: string, text: string) => writeFileSync(file, text, { mode: 0o600 });
beforeEach(() => {
  folder = tempFolder();
  inner = join(folder.path, "it's mine");
  mkdirSync(inner, { mode: 0o700 });
  path = join(inner, "secret");
  createPrivateFile(path, "text");
});
afterEach(() => folder[Symbol.dispose]());

function refusal(file = path): { code: string; message: string; hint: string } | undefined {
  try {
    readPrivateFile(file);
    return undefined;
  } catch (error) {
    if (error instanceof FileError)
      return { code: error.code, message: error.message, hint: error.hint ?? "" };
    throw error;
  }
}

/** Does what the hint says, as somebody would who pastes it. */
function obey(hint: string): void {
  execFileSync("sh", ["-c", hint.slice(hint.indexOf(": ") + 2)]);
}

describe("a folder above the file", () => {
  test.each([0o700, 0o755, 0o750, 0o711, 0o1777, 0o1770, 0o2755])("may have mode %o", (mode) => {
    chmodSync(inner, mode);
    expect(refusal()).toBeUndefined();
    chmodSync(inner, 0o700);
    chmodSync(folder.path, mode);
    expect(refusal()).toBeUndefined();
  });

  test.each([0o777, 0o770, 0o720, 0o702, 0o722, 0o2775, 0o707])(
    "may not have mode %o, wherever it is in the path",
    (mode) => {
      for (const wrong of [folder.path, inner]) {
        chmodSync(wrong, mode);
        expect(refusal()).toMatchObject({
          code: "unsafe",
          message: `${wrong} has mode ${(mode & 0o777).toString(8)}: other users could replace ${path}`,
        });
        chmodSync(wrong, 0o700);
        expect(refusal()).toBeUndefined();
      }
    },
  );

  test("is mended by the command that the hint names", () => {
    chmodSync(folder.path, 0o777);
    obey(refusal()?.hint ?? "");
    expect(lstatSync(folder.path).mode & 0o777).toBe(0o755);
    expect(refusal()).toBeUndefined();
  });

  test("is mended by that command, also when it has a quote in its name", () => {
    chmodSync(inner, 0o777);
    obey(refusal()?.hint ?? "");
    expect(refusal()).toBeUndefined();
  });

  test("counts where a symbolic link among the folders leads, not only where it stands", () => {
    const open = join(folder.path, "open");
    mkdirSync(join(open, "own"), { recursive: true, mode: 0o700 });
    createPrivateFile(join(open, "own", "secret"), "text");
    chmodSync(open, 0o777);
    symlinkSync(join(open, "own"), join(folder.path, "link"));
    expect(refusal(join(open, "own", "secret"))?.code).toBe("unsafe");
    expect(refusal(join(folder.path, "link", "secret"))?.code).toBe("unsafe");
  });

  test.if(process.geteuid?.() === 0)("is looked at by root too: others' write permission is refused", () => {
    chmodSync(inner, 0o702);
    expect(refusal()?.code).toBe("unsafe");
  });
});

describe("the file", () => {
  test("is mended by the command that the hint names", () => {
    const plain = join(folder.path, "plain");
    createPrivateFile(plain, "text");
    chmodSync(plain, 0o666);
    obey(refusal(plain)?.hint ?? "");
    expect(lstatSync(plain).mode & 0o777).toBe(0o600);
    expect(refusal(plain)).toBeUndefined();
  });

  test("is not a folder or a pipe, and none of them is waited for", () => {
    execFileSync("mkfifo", ["-m", "600", join(inner, "pipe")]);
    expect(refusal(join(inner, "pipe"))?.message).toContain("is not a regular file");
    expect(refusal(inner)?.message).toContain("is not a regular file");
  });

  test("that is not there is null, and one that is not UTF-8 is corrupt", () => {
    expect(readPrivateFile(join(inner, "none"))).toEqual({ text: null, stamp: "" });
    writeFileSync(path, Buffer.from("c328", "hex"));
    expect(refusal()?.code).toBe("corrupt");
  });
});

describe("links", () => {
  test("are followed to their end, relative ones too, and to what is not there yet", () => {
    symlinkSync("secret", join(inner, "a"));
    symlinkSync("a", join(inner, "b"));
    symlinkSync("not yet", join(inner, "c"));
    expect(resolveSymlinks(join(inner, "b"), undefined)).toBe(path);
    expect(resolveSymlinks(join(inner, "c"), undefined)).toBe(join(inner, "not yet"));
    expect(existsSync(join(inner, "not yet"))).toBe(false);
  });

  test("in a circle are refused", () => {
    symlinkSync("b", join(inner, "a"));
    symlinkSync("a", join(inner, "b"));
    expect(() => resolveSymlinks(join(inner, "a"), undefined)).toThrow("too many symbolic links");
  });
});
