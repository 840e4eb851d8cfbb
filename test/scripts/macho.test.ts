// The reader of Mach-O signatures, with an executable of two pages and a signature made here.

import { createHash } from "node:crypto";
import { describe, expect, test } from "bun:test";
import { readMachO } from "../../scripts/release/macho.ts";

const PAGE = 4096;
const CODE = PAGE + 100;
const HASH = 32;
const DIRECTORY = 44 + 2 * HASH;
const SIGNATURE = 20 + DIRECTORY;

/** An executable for arm64 whose signature holds. */
function executable(): Buffer {
  const file = Buffer.alloc(CODE + SIGNATURE);
  words(file, 0, [0xfeedfacf, 0x0100000c, 0, 2, 3, 72 + 24 + 16, 0, 0]);
  words(file, 32, [0x19, 72]); // one segment: the whole file
  file.writeBigUInt64LE(BigInt(file.length), 32 + 48);
  words(file, 104, [0x32, 24, 1, (13 << 16) | (2 << 8)]);
  words(file, 128, [0x1d, 16, CODE, SIGNATURE]);
  const at = CODE + 20;
  [0xfade0cc0, SIGNATURE, 1, 0, 20].forEach((word, index) => file.writeUInt32BE(word, CODE + 4 * index));
  const directory = [0xfade0c02, DIRECTORY, 0x20400, 2, 44, 0, 0, 2, CODE];
  directory.forEach((word, index) => file.writeUInt32BE(word, at + 4 * index));
  file.set([HASH, 2, 0, 12], at + 36);
  for (const page of [0, 1]) {
    const bytes = file.subarray(page * PAGE, Math.min(CODE, (page + 1) * PAGE));
    file.set(createHash("sha256").update(bytes).digest(), at + 44 + page * HASH);
  }
  return file;
}

function words(file: Buffer, at: number, values: readonly number[]): void {
  values.forEach((value, index) => file.writeUInt32LE(value, at + 4 * index));
}

test("a signature that holds", () => {
  expect(readMachO(executable())).toEqual({ cpu: "arm64", minimum: "13.2", isAdHoc: true, flaw: undefined });
});

describe("a signature does not hold", () => {
  const flawAfter = (change: (file: Buffer) => Buffer | void) => {
    const file = executable();
    return readMachO(change(file) ?? file).flaw;
  };

  test.each([200, PAGE - 1, PAGE, CODE - 1])("when byte %d was changed", (at) => {
    const page = Math.floor(at / PAGE);
    expect(flawAfter((file) => void (file[at]! ^= 1))).toBe(`page ${page} of 2 was changed`);
  });

  test("when something was added to the file", () => {
    expect(flawAfter((file) => Buffer.concat([file, Buffer.alloc(8)]))).toContain(
      "the signature ends at byte",
    );
  });

  test("when it covers only a part", () => {
    expect(flawAfter((file) => void file.writeUInt32BE(PAGE, CODE + 20 + 32))).toBe(
      `it covers ${PAGE} bytes, and ${CODE} are before the signature`,
    );
  });

  test("when there is none", () => {
    expect(flawAfter((file) => void file.writeUInt32LE(0x26, 128))).toBe("it has no signature");
    expect(flawAfter((file) => void file.writeUInt32BE(0, CODE))).toBe("its signature has no code directory");
  });
});

test("an ELF file is no Mach-O executable", () => {
  expect(() => readMachO(Buffer.from("\x7fELF".padEnd(64, "\0")))).toThrow("not a Mach-O executable");
});
