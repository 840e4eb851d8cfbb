// The Debian package: what is in it, that its bytes depend on nothing else, what lintian and systemd say of it; and that it can be
// installed, run, upgraded, removed and purged, on a copy of this machine whose changes are gone afterwards.

import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import manifest from "../../package.json";
import { makeDeb } from "../../scripts/deb.ts";
import { licencesOf, notice, NOTICE, sourcesOfBun } from "../../scripts/release/notice.ts";
import { until } from "../support/attack.ts";
import { addUser, EXECUTABLE, PASSWORD, portForLater, run, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { lacksMachine, Machine } from "../support/machine.ts";
import { asPerson, lacks, lacksTools, SERVICE } from "../support/privileges.ts";
import { Watched } from "../support/watched.ts";

setDefaultTimeout(90_000);

const ROOT = join(import.meta.dir, "../..");
const PACKAGING = join(ROOT, "scripts/debian");
const { version } = manifest;
const EPOCH = 1_795_000_000;
const options = { version, level: 0, epoch: EPOCH };

/** A file that begins as an executable does; nothing can run it. */
function shamExecutable(folder: string, machine: number): string {
  const path = join(folder, `sham-${machine}`);
  const header = Buffer.alloc(64);
  header.write("\x7fELF\x02\x01\x01", "latin1");
  header.writeUInt16LE(machine, 18);
  writeFileSync(path, header);
  return path;
}
const X64 = 62;
const ARM64 = 183;

function said(...argv: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(argv);
  if (exitCode !== 0) throw new Error(`${argv.join(" ")} ended with ${exitCode}: ${stderr.toString()}`);
  return stdout.toString();
}

const cannotBuild = lacksTools("dpkg-deb", "gzip");

describe.skipIf(cannotBuild)("a package", () => {
  const folder = tempFolder();
  const unpacked = join(folder.path, "unpacked");
  let deb = "";

  beforeAll(async () => {
    deb = await makeDeb({ ...options, executable: shamExecutable(folder.path, X64), out: folder.path });
    said("dpkg-deb", "--raw-extract", deb, unpacked);
  });
  afterAll(() => folder[Symbol.dispose]());

  test("has the same bytes when it is made again, with another umask", async () => {
    const before = process.umask(0o077);
    try {
      const out = join(folder.path, "again");
      const again = await makeDeb({ ...options, executable: join(folder.path, `sham-${X64}`), out });
      expect(readFileSync(again).equals(readFileSync(deb))).toBe(true);
    } finally {
      process.umask(before);
    }
  });

  test("belongs to root, and has the times of the commit", () => {
    const lines = said("env", "TZ=UTC", "dpkg-deb", "--contents", deb).trim().split("\n");
    const time = new Date(EPOCH * 1000).toISOString().slice(0, 16).replace("T", " ");
    for (const line of lines) {
      const kind = line.startsWith("d") || line.endsWith("./usr/bin/parley") ? "rwxr-xr-x" : "rw-r--r--";
      expect(line.slice(1)).toMatch(new RegExp(`^${kind} root/root +\\d+ ${time} \\./`));
    }
  });

  test("names version and processor", async () => {
    expect(basename(deb)).toBe(`parley_${version}-1_amd64.deb`);
    expect(said("dpkg-deb", "--field", deb, "Version", "Architecture")).toBe(
      `Version: ${version}-1\nArchitecture: amd64\n`,
    );
    const executable = shamExecutable(folder.path, ARM64);
    const other = await makeDeb({ ...options, executable, out: folder.path });
    expect(said("dpkg-deb", "--field", other, "Architecture")).toBe("arm64\n");
  });

  test("is made of executables only", async () => {
    const executable = join(folder.path, "text");
    writeFileSync(executable, "#!/bin/sh\n");
    expect(makeDeb({ ...options, executable, out: folder.path })).rejects.toThrow(
      "is no executable of Linux",
    );
  });

  test("needs a version that the changelog has", async () => {
    const executable = join(folder.path, `sham-${X64}`);
    expect(makeDeb({ ...options, executable, out: folder.path, version: "0.0.9" })).rejects.toThrow(
      "CHANGELOG.md has no 0.0.9",
    );
  });

  test.each([
    ["bash", "usr/share/bash-completion/completions/parley"],
    ["zsh", "usr/share/zsh/vendor-completions/_parley"],
    ["fish", "usr/share/fish/vendor_completions.d/parley.fish"],
  ])("has the completion that the executable prints: %s", async (shell, path) => {
    const { stdout } = await run(["help", "completion", shell]);
    expect(readFileSync(join(unpacked, path), "utf8").trimEnd()).toBe(stdout.trimEnd());
  });

  test("has manual pages, changelogs and checksums", () => {
    const packed = ["man1/parley.1", "man1/parley-serve.1", "man1/parley-connect.1", "man1/parley-users.1"];
    for (const page of [...packed, "man7/parley-protocol.7"])
      expect(said("gzip", "-dc", join(unpacked, `usr/share/man/${page}.gz`))).toStartWith(".Dd ");
    const changes = said("gzip", "-dc", join(unpacked, "usr/share/doc/parley/changelog.Debian.gz"));
    expect(changes).toStartWith(`parley (${version}-1) unstable; urgency=medium\n`);
    expect(
      Bun.spawnSync(["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], { cwd: unpacked }).exitCode,
    ).toBe(0);
  });

  test("has the licences of all that the executable contains, twice: for Debian, and as in a release", async () => {
    const documents = join(unpacked, "usr/share/doc/parley");
    expect(said("gzip", "-dc", join(documents, `${NOTICE}.gz`))).toBe(await notice(ROOT));
    const copyright = readFileSync(join(documents, "copyright"), "utf8");
    const stanzas = copyright.replaceAll(/^ /gm, "").replaceAll(/^\.$/gm, "");
    for (const { id, text, packages } of await licencesOf(ROOT)) {
      for (const { name } of packages) expect(copyright).toContain(`node_modules/${name}/*\n`);
      if (id !== "Apache-2.0")
        expect(stanzas).toContain(text.replaceAll(/\s+$/gm, "\n").slice(0, 200).trim());
    }
    for (const [, source] of sourcesOfBun()) expect(copyright).toContain(source);
  });

  test("has a configuration that serve takes", async () => {
    // The folder of the package is not there.
    const data = join(folder.path, "data");
    const text = readFileSync(join(unpacked, "etc/parley/parley.toml"), "utf8");
    const path = join(folder.path, "parley.toml");
    const port = `port = ${portForLater()}\n`;
    writeFileSync(path, text.replace("/var/lib/parley", data) + port);
    mkdirSync(data, { mode: 0o700 });
    const check = ["serve", "--config", path, "--check"];
    expect(await run(check)).toMatchObject({ exitCode: 0 });
    // The lines that are commented out may be used, too; a server has one service.
    for (const key of ["service", "program"]) {
      const lines = text.replaceAll(new RegExp(`^# (?=(?:host|${key}) = )`, "gm"), "");
      writeFileSync(path, lines.replace("/var/lib/parley", data) + port);
      expect(await run(check)).toMatchObject({ exitCode: 0 });
    }
  });

  test.skipIf(lacksTools("systemd-analyze"))("has a unit that systemd rates as well as the page says", () => {
    const unit = join(PACKAGING, "parley.service");
    const { exitCode, stdout } = Bun.spawnSync([
      "systemd-analyze",
      "security",
      "--offline=true",
      "--no-pager",
      "--threshold=15",
      unit,
    ]);
    console.log(stdout.toString().trim().split("\n").at(-1));
    expect([exitCode, stdout.toString()]).toEqual([0, expect.stringContaining("Overall exposure level")]);
  });
});

/** The system calls of a group of systemd, and of the groups in it. */
function callsOf(group: string): Set<string> {
  const lines = said("systemd-analyze", "syscall-filter", "--no-pager", group).split("\n").slice(1);
  const names = lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
  return new Set(names.flatMap((name) => (name.startsWith("@") ? [...callsOf(name)] : [name])));
}

test.skipIf(lacks("setpriv", "strace", "systemd-analyze"))(
  "a server makes only system calls that its unit allows",
  async () => {
    using folder = tempFolder();
    const data = join(folder.path, "data");
    const summary = join(folder.path, "data", "calls");
    mkdirSync(data, { mode: 0o700 });
    chmodSync(folder.path, 0o755);
    chownSync(data, SERVICE.uid, SERVICE.gid); // root would keep the owners of files
    await addUser(data);
    // -D: the process that is started is the server, not the tracer.
    const prefix = [...asPerson(SERVICE), "strace", "-D", "-f", "-qqq", "-c", "-o", summary];
    const server = await serve(["--tls", "--pty", "--", "cat"], { data, prefix });
    const client = [
      "connect",
      server.address,
      "--accept-new",
      "--user",
      "ann",
      "--password-stdin",
      "--send",
      "hello",
    ];
    const { stdout } = await run([...client, "--count", "1"], { stdin: `${PASSWORD}\n` });
    expect(stdout).toContain("hello");
    await server.stop();
    await until(
      "the summary",
      true,
      () => existsSync(summary) && / total\n/.test(readFileSync(summary, "utf8")),
    );

    const unit = readFileSync(join(PACKAGING, "parley.service"), "utf8");
    const allowed = callsOf("@default");
    for (const [, not, groups = ""] of unit.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
      const calls = groups.split(" ").flatMap((group) => [...callsOf(group)]);
      for (const call of calls) void (not === "" ? allowed.add(call) : allowed.delete(call));
    }
    const made = [...readFileSync(summary, "utf8").matchAll(/^ *\d.* ([a-z]\w*)$/gm)].map(
      ([, name = ""]) => name,
    );
    expect(made).toContain("execve");
    expect(made.filter((name) => name !== "total" && !allowed.has(name))).toEqual([]);
  },
);

const cannotInstall = cannotBuild || lacksTools("dpkg", "adduser", "logrotate") || (await lacksMachine());

describe.skipIf(cannotBuild)("the package of the executable", () => {
  const folder = tempFolder();
  let deb = "";

  beforeAll(async () => {
    deb = await makeDeb({ ...options, executable: EXECUTABLE, out: folder.path });
  });
  afterAll(() => folder[Symbol.dispose]());

  test.skipIf(lacksTools("lintian"))("has no fault that lintian finds", () => {
    const argv = ["lintian", "--no-cfg", "--allow-root", "--display-info", "--fail-on", "error,warning,info"];
    const { exitCode, stdout } = Bun.spawnSync([...argv, deb]);
    expect([exitCode, stdout.toString()]).toEqual([0, ""]);
  });

  test.skipIf(cannotInstall)(
    "is installed over an older one, serves, and is removed and purged",
    async () => {
      // The older one has another configuration, and an executable that nothing starts.
      const executable = shamExecutable(folder.path, X64);
      const older = await makeDeb({ ...options, executable, out: folder.path, version: "0.1.0" });
      await using machine = await Machine.start(folder.path);
      const ok = async (argv: string[], stdin?: string) => {
        const { exitCode, stdout, stderr } = await machine.run(argv, stdin);
        if (exitCode !== 0) throw new Error(`${argv.join(" ")} ended with ${exitCode}: ${stdout}${stderr}`);
        return stdout;
      };
      const everything = ["find", "/etc", "/usr", "/var", "-xdev", "-name", "*parley*"];
      const before = await ok(everything);

      await ok(["dpkg", "--install", `/mnt/${basename(older)}`]);
      expect(await ok(["stat", "--format=%U %G %a", "/var/lib/parley"])).toBe("parley parley 700\n");
      const enabled = await ok(["find", "/etc/systemd/system", "-name", "parley.*"]);
      expect(enabled).toBe("/etc/systemd/system/multi-user.target.wants/parley.service\n");

      const port = portForLater();
      const own = (await ok(["cat", CONFIGURATION])).replace(/^# port = .*/m, `port = ${port}`);
      await ok(["tee", CONFIGURATION], own);
      await ok(["dpkg", "--force-confold", "--install", `/mnt/${basename(deb)}`]);
      expect(await ok(["cat", CONFIGURATION])).toBe(own);
      expect(await ok(["parley", "--version"])).toStartWith(`parley ${version} `);

      await ok(["parley", "users", "add", "ann", "--password-stdin", "--data", DATA], `${PASSWORD}\n`);
      {
        await using server = serveThere(machine);
        await server.stdout.see(`listening on 127.0.0.1:${port}\n`);
        const connect = ["parley", "connect", `ann@127.0.0.1:${port}`, "--password-stdin", "--send", "hello"];
        expect(await ok([...connect, "--count", "1", "--data", "/tmp/client"], `${PASSWORD}\n`)).toBe(
          "hello\n",
        );
        await ok(["logrotate", "--force", "/etc/logrotate.d/parley"]);
        server.signal("SIGHUP");
        const log = ["stat", "--format=%U %a", `${DATA}/parley.log`];
        await until("the new log", "parley 600\n", async () => (await machine.run(log)).stdout);
        await server.stop();
        expect(await ok(["cat", `${DATA}/parley.log.1`])).toContain(" logged-in ");
        expect(await ok(["cat", `${DATA}/parley.log`])).toContain(" stopped ");
      }

      const accounts = await ok(["cat", `${DATA}/users.json`]);
      await ok(["dpkg", "--remove", "parley"]);
      expect(await ok(["cat", CONFIGURATION])).toBe(own);
      expect((await machine.run(["which", "parley"])).exitCode).toBe(1);
      const says = await ok(["dpkg", "--purge", "parley"]);
      expect(says).toContain(`  rm -r ${DATA} && deluser --system parley\n`);
      expect(await ok(["find", DATA, "-type", "f"])).toBe(`${DATA}/users.json\n`);
      expect(await ok(["cat", `${DATA}/users.json`])).toBe(accounts);
      const left = (await ok(everything)).split("\n").filter((path) => !before.split("\n").includes(path));
      expect(left).toEqual([DATA]);
    },
  );
});

const CONFIGURATION = "/etc/parley/parley.toml";
const DATA = "/var/lib/parley";

/** The command of the unit, with its user's rights. */
function serveThere(machine: Machine) {
  const [, command = ""] =
    /^ExecStart=(.*)$/m.exec(readFileSync(join(PACKAGING, "parley.service"), "utf8")) ?? [];
  const rights = [
    "--reuid=parley",
    "--regid=parley",
    "--init-groups",
    "--no-new-privs",
    "--bounding-set=-all",
  ];
  const child = Bun.spawn([...machine.prefix, "setpriv", ...rights, ...command.split(" ")], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
    cwd: "/",
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const stdout = new Watched();
  const read = (async () => {
    for await (const part of child.stdout) stdout.append(Buffer.from(part).toString());
    stdout.end();
  })();
  return {
    stdout,
    signal: (name: NodeJS.Signals) => child.kill(name),
    async stop() {
      child.kill("SIGTERM");
      await read;
      expect(await child.exited).toBe(0);
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await Promise.all([read, child.exited]);
    },
  };
}
