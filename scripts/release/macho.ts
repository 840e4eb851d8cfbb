// Reads a Mach-O executable and checks its code signature as the kernel of macOS does: page after page. macOS on arm64 starts
// nothing whose signature does not hold. https://github.com/apple-oss-distributions/xnu/blob/main/osfmk/kern/cs_blobs.h

import { createHash } from "node:crypto";

const MAGIC_64 = 0xfeedfacf;
const LC_SEGMENT_64 = 0x19;
const LC_CODE_SIGNATURE = 0x1d;
const LC_BUILD_VERSION = 0x32;
const EMBEDDED_SIGNATURE = 0xfade0cc0;
const CODE_DIRECTORY = 0xfade0c02;
const HASH_SHA256 = 2;
const AD_HOC = 0x2;
const CPUS: Readonly<Record<number, string>> = { 0x01000007: "x64", 0x0100000c: "arm64" };

export interface MachO {
  cpu: string;
  /** The oldest macOS that it is made for. */
  minimum: string;
  /** Signed by no authority: the signature only says that the bytes are whole. */
  isAdHoc: boolean;
  /** Why macOS would not accept the signature; undefined when it would. */
  flaw: string | undefined;
}

/** @throws {Error} when `file` is no Mach-O executable for one processor. */
export function readMachO(file: Buffer): MachO {
  if (file.readUInt32LE(0) !== MAGIC_64) throw new Error("not a Mach-O executable of 64 bits");
  const about = { cpu: CPUS[file.readUInt32LE(4)] ?? "unknown", minimum: minimumOf(file) };
  const signature = placeOf(file, LC_CODE_SIGNATURE);
  if (signature === undefined) return { ...about, isAdHoc: false, flaw: "it has no signature" };
  const start = file.readUInt32LE(signature + 8);
  const size = file.readUInt32LE(signature + 12);
  const directory = codeDirectoryOf(file, start);
  if (directory === undefined)
    return { ...about, isAdHoc: false, flaw: "its signature has no code directory" };
  const isAdHoc = (file.readUInt32BE(directory + 12) & AD_HOC) !== 0;
  return { ...about, isAdHoc, flaw: flawOfPlace(file, start, size) ?? flawOfPages(file, directory, start) };
}

function placeOf(file: Buffer, command: number): number | undefined {
  return commandsOf(file).find(({ kind }) => kind === command)?.at;
}

function minimumOf(file: Buffer): string {
  const at = placeOf(file, LC_BUILD_VERSION);
  if (at === undefined) return "of any version";
  const version = file.readUInt32LE(at + 12);
  return `${version >>> 16}.${(version >>> 8) & 0xff}`;
}

function commandsOf(file: Buffer): { kind: number; at: number }[] {
  const count = file.readUInt32LE(16);
  const commands = [];
  for (let at = 32; commands.length < count; at += file.readUInt32LE(at + 4)) {
    commands.push({ kind: file.readUInt32LE(at), at });
  }
  return commands;
}

function codeDirectoryOf(file: Buffer, start: number): number | undefined {
  if (start + 12 > file.length || file.readUInt32BE(start) !== EMBEDDED_SIGNATURE) return undefined;
  const count = file.readUInt32BE(start + 8);
  for (let index = 0; index < count; index++) {
    const blob = start + file.readUInt32BE(start + 16 + 8 * index);
    if (file.readUInt32BE(blob) === CODE_DIRECTORY) return blob;
  }
  return undefined;
}

/** The signature is the last thing in the file and in the last segment. */
function flawOfPlace(file: Buffer, start: number, size: number): string | undefined {
  if (start + size !== file.length) {
    return `the signature ends at byte ${start + size}, and the file at ${file.length}`;
  }
  const ends = commandsOf(file)
    .filter(({ kind }) => kind === LC_SEGMENT_64)
    .map(({ at }) => Number(file.readBigUInt64LE(at + 40) + file.readBigUInt64LE(at + 48)));
  const end = Math.max(...ends);
  return end === file.length ? undefined : `the segments end at byte ${end}, and the file at ${file.length}`;
}

function flawOfPages(file: Buffer, directory: number, start: number): string | undefined {
  const hashes = directory + file.readUInt32BE(directory + 16);
  const count = file.readUInt32BE(directory + 28);
  const limit = file.readUInt32BE(directory + 32);
  const hashSize = file.readUInt8(directory + 36);
  const pageSize = 2 ** file.readUInt8(directory + 39);
  if (file.readUInt8(directory + 37) !== HASH_SHA256) return "its pages are not signed with SHA-256";
  if (limit !== start) return `it covers ${limit} bytes, and ${start} are before the signature`;
  if (count !== Math.ceil(limit / pageSize)) return `it has ${count} pages for ${limit} bytes`;
  for (let page = 0; page < count; page++) {
    const bytes = file.subarray(page * pageSize, Math.min(limit, (page + 1) * pageSize));
    const hash = createHash("sha256").update(bytes).digest();
    const at = hashes + page * hashSize;
    if (!hash.equals(file.subarray(at, at + hashSize))) return `page ${page} of ${count} was changed`;
  }
  return undefined;
}
