// A release as scripts/release.ts makes it: once for this machine's platform, or with PARLEY_RELEASE=1 twice for all (minutes);
// PARLEY_RELEASE=linux-x64,linux-arm64 for some. The executable runs from its archive and from the npm packages, and the one for
// arm64 in an emulator. Hashes, signature and bill of materials hold.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import manifest from "../../package.json";
import { PACKAGE, SCOPE } from "../../scripts/release/npm.ts";
import { NOTICE } from "../../scripts/release/notice.ts";
import { readMachO } from "../../scripts/release/macho.ts";
import { starterOf } from "../../scripts/release/inspect.ts";
import { NAMESPACE } from "../../scripts/release/sign.ts";
import { nativeTarget, TARGETS, targetsNamed } from "../../scripts/release/targets.ts";
import { ROOT } from "../docs/markdown.ts";
import { cuttingProxy } from "../support/cutting-proxy.ts";
import { addUser, PASSWORD, run, serve, type Options } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findNode } from "../support/node.ts";
import { Screen } from "../support/screen.ts";
import { lacksRegistry, lacksRepository, lacksTools } from "../support/privileges.ts";

setDefaultTimeout(90_000);

const wanted = process.env["PARLEY_RELEASE"];
const native = nativeTarget();
const targets =
  wanted === "1"
    ? TARGETS
    : wanted === undefined
      ? TARGETS.filter((target) => target === native)
      : targetsNamed(wanted.split(","));
const has = (name: string) => targets.some((target) => target.name === name);
const { version } = manifest;
/** Beside the executable in each archive. */
const CONTENT = [
  "CHANGELOG.md",
  "LICENSE",
  "README.md",
  NOTICE,
  "completions/",
  "completions/_parley",
  "completions/parley",
  "completions/parley.fish",
  "man/",
  "man/man1/",
  ...["parley-connect", "parley-serve", "parley-users", "parley"].map((name) => `man/man1/${name}.1`),
  "man/man7/",
  "man/man7/parley-protocol.7",
];
const cannotBuild =
  native === undefined ||
  lacksRepository() ||
  lacksTools("tar", "xz", "readelf", "ssh-keygen", "sha256sum") ||
  lacksRegistry();

describe.skipIf(cannotBuild)("a release", () => {
  const folder = tempFolder();
  const out = join(folder.path, "release");
  const key = join(folder.path, "key");
  const otherCache = join(folder.path, "cache");
  let said = "";

  beforeAll(
    () => {
      const env = { ...process.env, BUN_INSTALL_CACHE_DIR: otherCache };
      succeed(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
      const only = targets.map(({ name }) => name).join(",");
      const argv = [
        "--only",
        only,
        "--out",
        out,
        "--dirty",
        "--level",
        "0",
        "--sign",
        key,
        ...(wanted === undefined ? [] : ["--twice"]),
      ];
      said = succeed([process.execPath, join(ROOT, "scripts/release.ts"), ...argv], { env });
    },
    wanted === undefined ? 300_000 : 1_800_000,
  );
  afterAll(() => folder[Symbol.dispose]());

  const unpacked = new Map<string, { executable: string; list: string }>();
  /** The executable in the archive of a target, and the list of what is in the archive. */
  const unpack = (name: string) => {
    const known = unpacked.get(name);
    if (known !== undefined) return known;
    const archive = join(out, `parley-${version}-${name}.tar.xz`);
    const list = succeed(["tar", "-xvvf", archive, "-C", folder.path, "--utc", "--full-time"]);
    const one = { executable: join(folder.path, `parley-${version}-${name}`, "parley"), list };
    unpacked.set(name, one);
    return one;
  };

  test.skipIf(wanted === undefined)("has the same bytes twice", () => {
    expect(said).toContain("two runs gave the same bytes");
  });

  test("takes no package from a cache that is there, where no hash is checked", () => {
    expect(existsSync(otherCache)).toBe(false);
  });

  test("has hashes that hold", () => {
    const rows = succeed(["sha256sum", "--check", "SHA256SUMS"], { cwd: out }).trim().split("\n");
    const archives = targets.map(({ name }) => `parley-${version}-${name}.tar.xz`);
    const packages = ["parley", ...targets.map(({ name }) => name)].map(
      (name) => `${SCOPE.slice(1)}-${name}-${version}.tgz`,
    );
    const debian = targets
      .filter(({ libc }) => libc === "glibc")
      .map(({ cpu }) => `parley_${version}-1_${cpu === "x64" ? "amd64" : "arm64"}.deb`);
    for (const file of [
      ...archives,
      ...debian,
      ...packages.map((name) => `npm/${name}`),
      `parley-${version}.cdx.json`,
    ]) {
      expect(rows).toContain(`${file}: OK`);
    }
  });

  test("is signed: the list, and nothing that was changed", () => {
    const signers = join(folder.path, "signers");
    writeFileSync(signers, `releases@parley ${readFileSync(`${key}.pub`, "utf8")}`);
    const sums = readFileSync(join(out, "SHA256SUMS"));
    const verify = (text: Uint8Array) => {
      const argv = ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "releases@parley", "-n", NAMESPACE];
      return Bun.spawnSync([...argv, "-s", join(out, "SHA256SUMS.sig")], { stdin: text, stderr: "ignore" })
        .exitCode;
    };
    expect(verify(sums)).toBe(0);
    expect(verify(Buffer.concat([sums, Buffer.from("\n")]))).not.toBe(0);
  });

  test("has archives of one owner and one time, with executable, licence, README, changelog, manual pages and completions", () => {
    const epoch = succeed(["git", "log", "-1", "--format=%ct"], { cwd: ROOT }).trim();
    for (const { name } of targets) {
      const folderName = `parley-${version}-${name}`;
      const time = new Date(Number(epoch) * 1000).toISOString().slice(0, 19).replace("T", " ");
      const rows = unpack(name)
        .list.trim()
        .split("\n")
        .map((row) => row.split(/\s+/));
      expect(
        rows.map(([mode, owner, , date, clock, path]) => [mode, owner, `${date} ${clock}`, path]),
      ).toEqual([
        ["drwxr-xr-x", "0/0", time, `${folderName}/`],
        ...CONTENT.map((file) => [
          file.endsWith("/") ? "drwxr-xr-x" : "-rw-r--r--",
          "0/0",
          time,
          `${folderName}/${file}`,
        ]),
        ["-rwxr-xr-x", "0/0", time, `${folderName}/parley`],
      ]);
    }
  });

  test("lists what was started here, and what was only built", () => {
    const rows = readFileSync(join(out, "BUILDS.txt"), "utf8").trim().split("\n");
    expect(rows).toHaveLength(targets.length);
    for (const [index, target] of targets.entries()) {
      expect(rows[index]).toStartWith(target.name);
      expect(rows[index]).toContain(starterOf(target) === undefined ? "built, not started" : "started here");
    }
  });

  test("runs from its archive, and says version and commit", async () => {
    const { stdout } = await run(["--version"], { instead: [unpack(native!.name).executable] });
    expect(stdout).toMatch(new RegExp(`^parley ${RegExp.escape(version)} \\([0-9a-f]{10}\\+?\\)\n$`));
  });

  test.skipIf(!has("darwin-arm64"))("for macOS has a signature that holds until a byte is changed", () => {
    const file = readFileSync(unpack("darwin-arm64").executable);
    expect(readMachO(file)).toMatchObject({ cpu: "arm64", isAdHoc: true, flaw: undefined });
    file[file.length >> 1]! ^= 1;
    expect(readMachO(file).flaw).toMatch(/^page \d+ of \d+ was changed$/);
    expect(readMachO(Buffer.concat([file, Buffer.alloc(1)])).flaw).toContain("the signature ends at byte");
  });

  describe("its bill of materials", () => {
    interface Component {
      type: string;
      name: string;
      version?: string;
      "bom-ref": string;
      purl?: string;
      hashes?: { alg: string; content: string }[];
      licenses?: ({ license: { id: string } } | { expression: string })[];
      components?: Component[];
    }
    interface Bill {
      bomFormat: string;
      specVersion: string;
      serialNumber: string;
      version: number;
      metadata: { timestamp: string; component: Component };
      components: Component[];
      dependencies: { ref: string; dependsOn: string[] }[];
    }
    let bill: Bill;
    beforeAll(() => {
      bill = JSON.parse(readFileSync(join(out, `parley-${version}.cdx.json`), "utf8")) as Bill;
    });

    test("has what CycloneDX 1.6 asks for", () => {
      expect(bill).toMatchObject({ bomFormat: "CycloneDX", specVersion: "1.6", version: 1 });
      expect(bill.serialNumber).toMatch(
        /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
      );
      expect(new Date(bill.metadata.timestamp).toISOString()).toBe(bill.metadata.timestamp);
      for (const component of bill.components) {
        expect(["library", "platform"]).toContain(component.type);
        expect(component.name).not.toBe("");
        expect(component.purl).toBe(component["bom-ref"]);
        expect(component.hashes?.map(({ alg, content }) => [alg, content.length])).toEqual([
          ["SHA-512", 128],
        ]);
        expect(component.licenses).toHaveLength(1);
      }
    });

    test("names every package in the executable, with versions", () => {
      const named = new Map(bill.components.map(({ name, version: its }) => [name, its]));
      for (const [name, its] of Object.entries(manifest.dependencies)) expect(named.get(name)).toBe(its);
      for (const { runtime } of targets)
        expect(named.get(runtime)).toBe(manifest.packageManager.slice("bun@".length));
      expect(named.has("tslib")).toBe(true); // a dependency of a dependency
      expect(named.has("typescript")).toBe(false); // used, and not contained
      expect(named.has("iconv-lite")).toBe(false); // a dependency whose files the bundler does not read
      const runtime = bill.components.find(({ type }) => type === "platform");
      expect(runtime?.components?.map(({ name }) => name)).toContain("boringssl");
    });

    test("has no reference twice, and none to nothing", () => {
      const all = (one: Component): string[] => [one["bom-ref"], ...(one.components ?? []).flatMap(all)];
      const references = [bill.metadata.component, ...bill.components].flatMap(all);
      expect(new Set(references).size).toBe(references.length);
      const used = bill.dependencies.flatMap(({ ref, dependsOn }) => [ref, ...dependsOn]);
      expect(used.filter((ref) => !references.includes(ref))).toEqual([]);
      expect(new Set(bill.dependencies.map(({ ref }) => ref)).size).toBe(bill.dependencies.length);
    });

    test("has the hash of each executable", () => {
      for (const { name } of targets) {
        const hash = new Bun.CryptoHasher("sha256")
          .update(readFileSync(unpack(name).executable))
          .digest("hex");
        const one = bill.metadata.component.components?.find(({ name: its }) => its.endsWith(name));
        expect(one?.hashes).toEqual([{ alg: "SHA-256", content: hash }]);
      }
    });
  });

  const arm64 = TARGETS.find(({ name }) => name === "linux-arm64")!;
  const starter = starterOf(arm64);
  describe.skipIf(!has("linux-arm64") || starter === undefined)("for arm64, beside the native one", () => {
    const roles = [
      { name: "as a client", isServer: false },
      { name: "as a server", isServer: true },
    ];
    describe.each(roles)("$name", ({ isServer }) => {
      const data = join(folder.path, isServer ? "server" : "client");
      const env = { PARLEY_PASSWORD: PASSWORD };
      const emulated = () => ({ instead: [...starter!, unpack("linux-arm64").executable] });
      const server = () => (isServer ? emulated() : {});
      const client = () => ({ ...(isServer ? {} : emulated()), data: `${data}-of-client` });
      beforeAll(() => addUser(data));

      test("logs in over TLS, with a password and then with a token", async () => {
        await using running = await serve(["--tls"], { data, ...server() });
        const argv = [
          "connect",
          `ann@${running.address}`,
          "--pin",
          String(running.ready["tls"]),
          "--send",
          "hello",
        ];
        expect(await run(argv, { ...client(), env })).toMatchObject({ exitCode: 0, stdout: "hello\n" });
        expect(await run(argv, client())).toMatchObject({ exitCode: 0, stdout: "hello\n" });
        await running.stop();
      });

      test("resumes its session after each of 5 cuts, and loses nothing", async () => {
        await using running = await serve(["--tls"], { data, ...server() });
        using proxy = await cuttingProxy({
          port: running.port,
          cuts: 5,
          least: 5000,
          most: 20_000,
          first: 5000,
        });
        const lines = Array.from({ length: 10_000 }, (_, index) => `line ${index}\n`).join("");
        const argv = [
          "connect",
          `ann@${proxy.address}`,
          "--pin",
          String(running.ready["tls"]),
          "--retry",
          "50",
        ];
        const { exitCode, stdout, stderr } = await run(argv, { ...client(), env, stdin: lines });
        expect({ exitCode, isSame: stdout === lines, cuts: proxy.done, stderr }).toMatchObject({
          exitCode: 0,
          isSame: true,
          cuts: 5,
        });
        await running.stop();
      });
    });
  });

  const node = findNode();
  describe.skipIf(node === undefined || lacksTools("npm"))("its npm packages", () => {
    const project = join(folder.path, "project");
    const data = join(folder.path, "data");
    const instead = [join(project, "node_modules/.bin/parley")];
    beforeAll(async () => {
      mkdirSync(project);
      writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
      const files = ["parley", native!.name].map((name) =>
        join(out, "npm", `${SCOPE.slice(1)}-${name}-${version}.tgz`),
      );
      const argv = ["npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund"];
      succeed([...argv, "--cache", join(folder.path, "empty-cache"), ...files], { cwd: project });
      await addUser(data);
    });

    /** The launcher passes every end on but KILL: where a test fails, the executable is ended by its own number. */
    const serveInstalled = async (options: Options) => {
      const server = await serve([], { ...options, instead });
      let hasEnded = false;
      void server.exited.then(() => (hasEnded = true));
      return {
        ...server,
        async [Symbol.asyncDispose]() {
          if (!hasEnded) process.kill(Number(server.ready["pid"]), "SIGKILL");
          await server[Symbol.asyncDispose]();
        },
      };
    };

    const talk = (address: string, options: Options) => {
      const argv = ["connect", `ann@${address}`, "--password-stdin", "--send", "hello"];
      return run(argv, { ...options, stdin: `${PASSWORD}\n` });
    };

    test("have the licences that the archive has", () => {
      const installed = readFileSync(join(project, "node_modules", SCOPE, native!.name, NOTICE), "utf8");
      expect(installed).toBe(readFileSync(join(unpack(native!.name).executable, "..", NOTICE), "utf8"));
      expect(installed).toContain("### MIT: @inquirer/ansi ");
    });

    test("log in to a server of another installation", async () => {
      await using server = await serve([], { data });
      expect(await talk(server.address, { instead })).toMatchObject({ exitCode: 0, stdout: "hello\n" });
      await server.stop();
    });

    test("serve clients of another installation, and end well by a signal", async () => {
      await using server = await serveInstalled({ data });
      expect(await talk(server.address, {})).toMatchObject({ exitCode: 0, stdout: "hello\n" });
      await server.stop();
    });

    test("pass on standard input, exit codes and an end by a signal", async () => {
      expect((await run(["nonsense"], { instead })).exitCode).toBe(2);
      await using server = await serveInstalled({ data });
      const wrong = await run(["connect", `ann@${server.address}`, "--password-stdin", "--send", "x"], {
        instead,
        stdin: "wrong horse\n",
      });
      expect(wrong.exitCode).toBe(3);
      process.kill(Number(server.ready["pid"]), "SIGKILL");
      expect(await server.exited).toBe(137);
    });

    test("stop by Ctrl-Z, and go on", async () => {
      await using server = await serve([], { data });
      const script = `set -m; ${instead[0]} "$@"; stty sane; echo stopped; read _; fg; echo "left with $?"`;
      const env = { PARLEY_PASSWORD: PASSWORD };
      await using screen = new Screen(["connect", `ann@${server.address}`], { script, env });
      await screen.see("> ");
      screen.type("\u001a");
      await screen.see("stopped");
      screen.enter("");
      await screen.see("> ");
      screen.enter("hello");
      await screen.see(/hello[^]*hello\r\n/);
      screen.type("\u0003");
      await screen.see("left with 130");
      await server.stop();
    });

    test("name themselves in commands that can be copied", async () => {
      const fresh = join(folder.path, "fresh");
      await using unknown = await serveInstalled({ data: fresh });
      await unknown.stderr.see(`add one with: ${instead[0]} users add NAME`);
      await unknown.stop();
      const env = { PATH: `${join(project, "node_modules/.bin")}:${process.env["PATH"]}` };
      await using known = await serveInstalled({ data: fresh, env });
      await known.stderr.see("add one with: parley users add NAME");
      await known.stop();
    });

    test("run the executable for the C library at hand where those for both are installed", async () => {
      const other = join(project, "node_modules", PACKAGE, "..", `${native!.name}-musl`);
      mkdirSync(join(other, "bin"), { recursive: true });
      writeFileSync(join(other, "package.json"), "{}");
      writeFileSync(join(other, "bin", "parley"), "#!/bin/sh\nexit 99\n", { mode: 0o755 });
      expect((await run(["--version"], { instead })).exitCode).toBe(0);
      rmSync(other, { recursive: true });
    });

    test("say what to do where the executable is missing", async () => {
      const lonely = join(folder.path, "lonely");
      const inside = join(lonely, "node_modules", PACKAGE);
      mkdirSync(inside, { recursive: true });
      const archive = join(out, "npm", `${SCOPE.slice(1)}-parley-${version}.tgz`);
      succeed(["tar", "-xf", archive, "-C", inside, "--strip-components=1"]);
      const { exitCode, stderr } = await run([], { instead: [node!, join(inside, "bin/parley.js")] });
      expect(exitCode).toBe(1);
      expect(stderr).toContain(`install ${PACKAGE} again, with optional dependencies`);
    });

    test("export the client, with types", async () => {
      const program = [
        `import { connect, type ConnectOptions, type Session } from "${PACKAGE}";`,
        `const options: ConnectOptions = JSON.parse(process.argv[2] ?? "");`,
        `const session: Session = await connect(options);`,
        `await session.send("hello");`,
        `await session.end();`,
        `for await (const answer of session) process.stdout.write(answer satisfies string);`,
      ];
      writeFileSync(join(project, "talk.ts"), program.join("\n"));
      const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
      const roots = join(ROOT, "node_modules/@types");
      const options = [
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--typeRoots",
        roots,
        "--types",
        "bun",
      ];
      succeed([process.execPath, compiler, "--ignoreConfig", ...options, "talk.ts"], { cwd: project });
      await using server = await serve([], { data });
      const login = { host: "127.0.0.1", port: server.port, user: "ann", password: PASSWORD };
      expect(succeed([node!, join(project, "talk.js"), JSON.stringify(login)])).toBe("hello");
      await server.stop();
    });
  });
});

/** Runs a program to its end, and returns what it printed. @throws {Error} when it fails. */
function succeed(
  argv: string[],
  { cwd = "/", env = process.env }: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(argv, { cwd, env, stdin: "ignore" });
  if (exitCode === 0) return stdout.toString();
  throw new Error(`${argv.join(" ")} ended with ${exitCode}: ${stdout.toString()}${stderr.toString()}`);
}
