// Archives and signatures of a release, without a release.

import { chmodSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { makeArchive } from "../../scripts/release/archive.ts";
import { sign } from "../../scripts/release/sign.ts";
import { SUMS, writeSums } from "../../scripts/release/sums.ts";
import { tempFolder } from "../support/folder.ts";
import { lacksTools } from "../support/privileges.ts";

const CONTENT = { parley: "executable", LICENSE: "licence", "man/parley.1": "page" };

describe.skipIf(lacksTools("tar", "xz", "bash"))("an archive", () => {
  /** Makes the archive of files that were made at `time`, in this order and with this mode. */
  const archive = async (names: readonly string[], time: number, mode: number) => {
    using folder = tempFolder();
    const files = new Map<string, string>();
    for (const [index, name] of names.entries()) {
      const file = join(folder.path, String(index));
      writeFileSync(file, CONTENT[name as keyof typeof CONTENT]);
      utimesSync(file, time, time);
      chmodSync(file, mode);
      files.set(name, file);
    }
    const scratch = join(folder.path, "scratch");
    mkdirSync(scratch);
    const path = join(folder.path, "parley-1.tar.xz");
    await makeArchive({ path, files, epoch: 1_700_000_000, scratch, cpu: "x64", level: 0 });
    const list = Bun.spawnSync(["tar", "-tvf", path, "--utc"]).stdout.toString();
    return { bytes: readFileSync(path), list };
  };

  test("has the same bytes whenever, in whatever order and with whatever modes its files were made", async () => {
    const one = await archive(["parley", "LICENSE", "man/parley.1"], 1000, 0o600);
    const other = await archive(["man/parley.1", "parley", "LICENSE"], 2_000_000_000, 0o755);
    expect(one.bytes.equals(other.bytes)).toBe(true);
  });

  test("has an executable that all may run, and pages that all may read", async () => {
    const { list } = await archive(["parley", "LICENSE", "man/parley.1"], 1000, 0o600);
    const rows = list
      .trim()
      .split("\n")
      .map((row) => row.replace(/ +/g, " "));
    expect(rows).toEqual([
      "drwxr-xr-x 0/0 0 2023-11-14 22:13 parley-1/",
      "-rw-r--r-- 0/0 7 2023-11-14 22:13 parley-1/LICENSE",
      "drwxr-xr-x 0/0 0 2023-11-14 22:13 parley-1/man/",
      "-rw-r--r-- 0/0 4 2023-11-14 22:13 parley-1/man/parley.1",
      "-rwxr-xr-x 0/0 10 2023-11-14 22:13 parley-1/parley",
    ]);
  });
});

describe("the list of hashes", () => {
  test("has every file of every folder, in one order", () => {
    using folder = tempFolder();
    mkdirSync(join(folder.path, "npm"));
    for (const name of ["b", "npm/c", "a"]) writeFileSync(join(folder.path, name), name);
    const hash = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex");
    const lines = ["a", "b", "npm/c"].map((name) => `${hash(name)}  ${name}\n`).join("");
    expect(writeSums(folder.path)).toBe(lines);
    expect(readFileSync(join(folder.path, SUMS), "utf8")).toBe(lines);
  });

  test.skipIf(lacksTools("minisign"))("is signed with a key of minisign, the same way twice", () => {
    using folder = tempFolder();
    const key = join(folder.path, "key");
    const list = join(folder.path, SUMS);
    Bun.spawnSync(["minisign", "-G", "-W", "-p", `${key}.pub`, "-s", key]);
    writeFileSync(list, "hashes\n");
    const signature = () => readFileSync(join(folder.path, sign(folder.path, key, "1.2.3")), "utf8");
    const verify = () => Bun.spawnSync(["minisign", "-V", "-q", "-p", `${key}.pub`, "-m", list]).exitCode;
    const first = signature();
    expect(first).toContain("trusted comment: parley 1.2.3");
    expect(signature()).toBe(first);
    expect(verify()).toBe(0);
    writeFileSync(list, "other hashes\n");
    expect(verify()).not.toBe(0);
  });

  test.skipIf(lacksTools("ssh-keygen"))("is not signed with what is no key", () => {
    using folder = tempFolder();
    writeFileSync(join(folder.path, SUMS), "hashes\n");
    writeFileSync(join(folder.path, "key"), "no key\n");
    expect(() => sign(folder.path, join(folder.path, "key"), "1.2.3")).toThrow("ssh-keygen ended with");
  });
});
