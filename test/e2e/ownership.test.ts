// Whose files are they? What root makes in another user's folder is that user's; what root owns and the service may read is
// trusted; and where it is not, the hint says what to change. All of it needs root.

import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Rights } from "../../src/os/rights.ts";
import { selfSigned } from "../support/certificates.ts";
import { addUser, PASSWORD, run, serve, start } from "../support/executable.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";
import { writeMany } from "../support/many.ts";
import { asPerson, lacks, SERVICE, type Person } from "../support/privileges.ts";

setDefaultTimeout(90_000);

const env = { PARLEY_PASSWORD: PASSWORD };
const prefix = asPerson(SERVICE);
const OWNER = `${SERVICE.uid}:${SERVICE.gid}`;

let folder: TempFolder;
/** The service's own. */
let data: string;
beforeEach(() => {
  folder = tempFolder();
  chmodSync(folder.path, 0o755);
  data = join(folder.path, "data");
  mkdirSync(data, { mode: 0o700 });
  chownSync(data, SERVICE.uid, SERVICE.gid);
});
afterEach(() => folder[Symbol.dispose]());

/** Everything in `root`, and itself, with its owner. */
function ownersIn(root: string): string[] {
  const names = ["", ...readdirSync(root, { recursive: true, encoding: "utf8" })];
  return names.map((name) => {
    const { uid, gid } = lstatSync(join(root, name));
    return `${name} ${uid}:${gid}`;
  });
}

function expectOwned(root = data): void {
  const owners = ownersIn(root);
  expect(owners).toEqual(owners.map((owner) => owner.replace(/\d+:\d+$/, OWNER)));
}

describe.skipIf(lacks("setpriv"))("what root makes in another user's folder belongs to that user:", () => {
  test("users add; and the service goes on with it", async () => {
    await addUser(data);
    expectOwned();
    expect(readdirSync(data)).toContain(".users.json.lock");
    const again = await run(["users", "disable", "ann"], { data, prefix });
    expect(again).toMatchObject({ exitCode: 0, stderr: "" });
    expectOwned();
  });

  test("users.journal beside many users; and the service goes on with it", async () => {
    chownSync(writeMany(data), SERVICE.uid, SERVICE.gid);
    const journal = join(data, "users.journal");
    for (const [n, who] of [undefined, prefix, undefined].entries()) {
      const { exitCode, stderr } = await run(["users", "disable", `user-${n}`], { data, prefix: who });
      expect([n, exitCode, stderr]).toEqual([n, 0, ""]);
      expectOwned();
      expect(lstatSync(journal).mode & 0o777).toBe(0o600);
    }
    await using server = await serve([], { data });
    await server.stop();
    expectOwned();
    expect(await run(["users", "disable", "user-3"], { data, prefix })).toMatchObject({ exitCode: 0 });
  });

  test("serve, with its log, its key and its certificate, once as root; and the service starts", async () => {
    await addUser(data);
    const flags = ["--tls", "--key-file", join(data, "key"), "--port-file", join(data, "port")];
    for (const who of [undefined, prefix]) {
      await using server = await serve(flags, { data, prefix: who });
      expectOwned();
      expect(readdirSync(data).filter((name) => /^sessions-[0-9a-f]+\.json$/.test(name))).toHaveLength(1);
      await server.stop();
      expect(server.stderr.text.replace(/^created a new shared key.*\n/, "")).toBe("");
    }
    expectOwned();
    expect(readdirSync(data).sort()).toEqual([
      ".users.json.lock",
      "key",
      "parley.log",
      "port",
      "tls-cert.pem",
      "tls-key.pem",
      "users.json",
    ]);
  });

  test("serve --check; and the service starts and issues tokens", async () => {
    await addUser(data);
    for (const name of readdirSync(data)) chownSync(join(data, name), SERVICE.uid, SERVICE.gid);
    expect((await run(["serve", "--check", "--port", "0"], { data })).exitCode).toBe(0);
    expectOwned();
    await using server = await serve([], { data, prefix });
    const client = await run(["connect", `ann@${server.address}`, "--send", "x"], { env });
    expect(client).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
    await server.stop();
    expect(server.stderr.text).toBe("");
  });

  test("connect, with its token; and the user's next one logs in with that", async () => {
    using other = tempFolder();
    await addUser(other.path);
    await using server = await serve([], { data: other.path });
    const asRoot = await run(["connect", `ann@${server.address}`, "--send", "x"], { env, data });
    expect(asRoot).toMatchObject({ exitCode: 0, stderr: "" });
    expectOwned();
    const own = await run(["connect", `ann@${server.address}`, "--send", "x"], { data, prefix });
    expect(own).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
    await server.stop();
  });

  test("the folders above, up to the one that was there", async () => {
    const deep = join(data, "a", "b", "c");
    expect((await run(["users", "add", "bob", "--generate"], { data: deep })).exitCode).toBe(0);
    expectOwned();
    expect([join(data, "a"), deep].map((path) => lstatSync(path).mode & 0o777)).toEqual([0o700, 0o700]);
  });

  test("--init's handler and its types", async () => {
    await run(["serve", "--init", join(data, "greet.ts")]);
    expectOwned();
    expect(readdirSync(data).sort()).toEqual(["greet.ts", "parley.d.ts"]);
  });

  test("a file that root had put there is named, with the command that gives it away", async () => {
    await addUser(data);
    const path = join(data, "users.json");
    chownSync(path, 0, 0);
    for (const who of [undefined, prefix]) {
      const { exitCode, stderr } = await run(["users", "disable", "ann"], { data, prefix: who });
      expect(exitCode).toBe(1);
      expect(stderr).toContain(`cannot read ${path}: it belongs to another user (root)`);
      expect(stderr).toContain(`sudo chown ${SERVICE.uid} ${path}`);
    }
  });

  test("the list of sessions of a server that root runs there", async () => {
    await addUser(data);
    await using server = await serve([], { data });
    const client = await run(["connect", `ann@${server.address}`, "--send", "x"], { env });
    expect(client.exitCode).toBe(0);
    expectOwned();
    expect(await run(["users", "sessions"], { data, prefix })).toMatchObject({ exitCode: 0, stderr: "" });
    await server.stop();
  });

  test("a lock that root left otherwise is named, with the command that gives it away", async () => {
    await addUser(data);
    const lock = join(data, ".users.json.lock");
    chownSync(lock, 0, 0);
    const refused = await run(["users", "disable", "ann"], { data, prefix });
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain(`its lock ${lock} belongs to another user (root)`);
    expect(refused.stderr).toContain(`sudo chown ${SERVICE.uid} ${lock}`);
    const check = await run(["serve", "--check", "--port", "0"], { data, prefix });
    expect([check.exitCode, check.stderr]).toEqual([1, expect.stringContaining("belongs to another user")]);
    await using server = await serve([], { data, prefix });
    await server.stderr.see("accounts cannot change and no session tokens are issued");
    await server.stop();
  });
});

describe.skipIf(lacks("setpriv"))("a folder whose owner has put a trap there for root:", () => {
  /** A file of root's that nobody else may touch, with a mode that root's tools might change. */
  function victim(mode: number): { path: string; expectUntouched(this: void): void } {
    const folderOfRoot = join(folder.path, "root");
    mkdirSync(folderOfRoot, { recursive: true, mode: 0o700 });
    const path = join(folderOfRoot, "victim");
    writeFileSync(path, "root's own\n", { mode });
    chmodSync(path, mode);
    return {
      path,
      expectUntouched() {
        const { uid, gid, mode: now } = lstatSync(path);
        expect([uid, gid, now & 0o777]).toEqual([0, 0, mode]);
        expect(readFileSync(path, "utf8")).toBe("root's own\n");
        expect(readdirSync(folderOfRoot)).toEqual(["victim"]);
        const names = readdirSync(data, { recursive: true, encoding: "utf8" });
        for (const name of names.filter((one) => lstatSync(join(data, one)).isFile())) {
          if (lstatSync(join(data, name)).uid !== 0)
            expect(readFileSync(join(data, name), "utf8")).not.toContain("root's own");
        }
      },
    };
  }

  const plant = (name: string, target: string) => {
    symlinkSync(target, join(data, name));
    expect(Bun.spawnSync(["chown", "-h", OWNER, join(data, name)]).exitCode).toBe(0);
  };

  test.each(["users.json", ".users.json.lock", "parley.log", "tls-key.pem", "tls-cert.pem"])(
    "%s as a link to a file of root's: nothing happens to that",
    async (name) => {
      const { path, expectUntouched } = victim(0o640);
      plant(name, path);
      await run(["users", "revoke", "--all"], { data });
      await using server = start(["serve", "--port", "0", "--tls", "--auth", "none", "--json"], { data });
      const ready = server.stdout.see("\n").catch(() => 0); // or it has refused
      await Promise.race([ready, server.exited]);
      server.signal("SIGTERM");
      await server.exited;
      expectUntouched();
    },
  );

  test.each(["last.json", "tokens.json", "known-servers.json", ".tokens.json.lock", ".last.json.lock"])(
    "%s as a link to a file of root's, and connect",
    async (name) => {
      using other = tempFolder();
      await addUser(other.path);
      await using server = await serve(["--tls"], { data: other.path });
      const { path, expectUntouched } = victim(0o640);
      plant(name, path);
      const flags = ["--tls", "--accept-new", "--send", "x"];
      await run(["connect", `ann@${server.address}`, ...flags], { env, data });
      expectUntouched();
      await server.stop();
    },
  );

  test("users.journal as a link to a file of root's: it is neither read nor written", async () => {
    chownSync(writeMany(data), SERVICE.uid, SERVICE.gid);
    const { path, expectUntouched } = victim(0o640);
    plant("users.journal", path);
    const { exitCode, stderr } = await run(["users", "disable", "user-1"], { data });
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("users.journal")]);
    expectUntouched();
  });

  test("a hard link to a file of root's in the place of a lock: its mode stays", async () => {
    const { path, expectUntouched } = victim(0o644);
    linkSync(path, join(data, ".users.json.lock"));
    await run(["users", "revoke", "--all"], { data });
    expectUntouched();
  });

  test("a folder that is a link to one of root's: nothing is made there, and it stays root's", async () => {
    const roots = join(folder.path, "roots");
    mkdirSync(roots, { mode: 0o700 });
    plant("state", roots);
    const { exitCode } = await run(["users", "revoke", "--all"], { data: join(data, "state", "parley") });
    expect(exitCode).toBe(1);
    await run(["serve", "--init", join(data, "state", "greet.ts")]);
    await run(["serve", "--auth", "none", "--check", "--port", "0", "--log", join(data, "state", "log")], {
      data,
    });
    expect([readdirSync(roots), lstatSync(roots).uid]).toEqual([[], 0]);
  });

  test("a TLS key, a certificate or a shared key as a link to one of root's is not used", async () => {
    const roots = join(folder.path, "roots");
    mkdirSync(roots, { mode: 0o700 });
    const { key, certificate } = await selfSigned();
    const shared = "5a".repeat(32);
    for (const [name, text, flags] of [
      ["tls-key.pem", key, ["--tls"]],
      ["tls-cert.pem", certificate, ["--tls"]], // beside a key of the user's own
      ["key", shared, ["--key-file", join(data, "key")]],
    ] as const) {
      writeFileSync(join(roots, name), text, { mode: 0o600 });
      plant(name, join(roots, name));
      if (name === "tls-cert.pem") writeFileSync(join(data, "tls-key.pem"), key, { mode: 0o600 });
      if (name === "tls-cert.pem") chownSync(join(data, "tls-key.pem"), SERVICE.uid, SERVICE.gid);
      const argv = ["serve", "--auth", "none", "--check", "--port", "0", ...flags];
      const { exitCode, stderr } = await run(argv, { data });
      expect([name, exitCode, stderr]).toEqual([name, 1, expect.stringContaining("cannot read")]);
      rmSync(join(data, name));
    }
  });

  test("a port file that leads to a file of root's, and a key of another user in a folder for all", async () => {
    const { path, expectUntouched } = victim(0o644);
    const common = join(folder.path, "common");
    mkdirSync(common);
    chmodSync(common, 0o1777);
    symlinkSync(path, join(common, "port"));
    Bun.spawnSync(["chown", "-h", OWNER, join(common, "port")]);
    writeFileSync(join(common, "key"), "5a".repeat(32), { mode: 0o600 });
    chownSync(join(common, "key"), SERVICE.uid, SERVICE.gid);
    const check = (...flags: string[]) =>
      run(["serve", "--auth", "none", "--port", "0", ...flags], { data: join(folder.path, "own") });
    expect((await check("--port-file", join(common, "port"))).exitCode).toBe(1);
    expectUntouched();
    const refused = await check("--check", "--key-file", join(common, "key"));
    expect([refused.exitCode, refused.stderr]).toEqual([
      1,
      expect.stringContaining("belongs to another user"),
    ]);
  });
});

describe.skipIf(lacks())("rights over a path", () => {
  const personOver = (path: string) => {
    const { uid, gid } = Rights.over(path).person ?? {};
    return [uid, gid];
  };
  const SERVICES = [SERVICE.uid, SERVICE.gid];

  test("are the owner's of the first folder or link on the way that is not root's", () => {
    const roots = join(folder.path, "roots");
    mkdirSync(join(roots, "deep"), { recursive: true });
    symlinkSync(roots, join(data, "link"));
    symlinkSync(data, join(folder.path, "to-data"));
    expect(personOver(roots)).toEqual([0, 0]);
    expect(personOver(join(data, "users.json"))).toEqual(SERVICES);
    expect(personOver(join(data, "a", "b"))).toEqual(SERVICES);
    expect(personOver(join(data, "link", "deep"))).toEqual(SERVICES);
    expect(personOver(join(folder.path, "to-data", "..", "roots"))).toEqual([0, 0]);
    expect(personOver(join(folder.path, "to-data", "x"))).toEqual(SERVICES);
  });

  test("where all may write, are also the file's own owner's", () => {
    const common = join(folder.path, "common");
    mkdirSync(common);
    chmodSync(common, 0o1777);
    writeFileSync(join(common, "log"), "");
    chownSync(join(common, "log"), SERVICE.uid, SERVICE.gid);
    expect([personOver(join(common, "log")), personOver(join(common, "none"))]).toEqual([SERVICES, [0, 0]]);
  });

  test("are told for nothing that is not there, but for the last part", () => {
    expect(personOver(join(folder.path, "none"))).toEqual([0, 0]);
    expect(() => Rights.over(join(folder.path, "none", "x"))).toThrow("ENOENT");
    expect(() => Rights.within(join(folder.path, "none"))).toThrow("ENOENT");
  });

  test("end with what they are used for, also when that throws, and are not used within others", () => {
    const rights = Rights.over(join(data, "x"));
    const own = join(folder.path, "own");
    const thrown = () =>
      rights.use(() => {
        writeFileSync(own, ""); // the folder is root's
      });
    expect(thrown).toThrow("EACCES");
    writeFileSync(own, "");
    expect(lstatSync(own).uid).toBe(0);
    expect(rights.use(() => 7)).toBe(7);
    expect(() => rights.use(() => rights.use(() => 7))).toThrow(TypeError);
    writeFileSync(own, "");
  });

  test("of one without a group of its own never are those of root's group", () => {
    chownSync(data, SERVICE.uid, 0);
    expect(personOver(join(data, "x"))).toEqual([SERVICE.uid, SERVICE.uid]);
  });
});

const GROUP = 64_077;

describe.skipIf(lacks("setpriv"))("what root owns and the service may read is trusted:", () => {
  test("a user file and the journal that root makes beside it, which the same group may read", async () => {
    chownSync(data, 0, 0);
    chmodSync(data, 0o755);
    const path = writeMany(data);
    chownSync(path, 0, GROUP);
    chmodSync(path, 0o640);
    expect((await run(["users", "disable", "user-1"], { data })).exitCode).toBe(0);
    const { uid, gid, mode } = lstatSync(join(data, "users.journal"));
    expect([uid, gid, mode & 0o777]).toEqual([0, GROUP, 0o640]);
    const list = await run(["users", "list", "--json"], { data, prefix: asPerson(member) });
    expect([list.exitCode, list.stderr]).toEqual([0, ""]);
    const [line] = list.stdout.split("\n").filter((one) => one.includes('"user-1"'));
    expect(JSON.parse(line ?? "")).toMatchObject({ user: "user-1", disabled: expect.any(String) });
  });

  /** The service, with a group beside its own. */
  const member: Person = { ...SERVICE, groups: [GROUP] };

  async function identity(mode: number, gid: number): Promise<string[]> {
    const { key, certificate } = await selfSigned();
    const [keyFile, certificateFile] = [join(folder.path, "key.pem"), join(folder.path, "cert.pem")];
    writeFileSync(keyFile, key);
    writeFileSync(certificateFile, certificate);
    chownSync(keyFile, 0, gid);
    chmodSync(keyFile, mode);
    return ["--tls-key", keyFile, "--tls-cert", certificateFile];
  }

  const check = (flags: string[], who: Person) =>
    run(["serve", "--check", "--port", "0", "--auth", "none", ...flags], { data, prefix: asPerson(who) });

  test.each([0o640, 0o440])(
    "a key of mode %o that its group may read, as PostgreSQL and systemd have it",
    async (mode) => {
      expect(await check(await identity(mode, GROUP), member)).toMatchObject({
        exitCode: 0,
        stderr: "the configuration is valid\n",
      });
    },
  );

  test.each([0o644, 0o660, 0o650])(
    "not a key of mode %o, with a hint that leaves it readable",
    async (mode) => {
      const flags = await identity(mode, GROUP);
      const refused = await check(flags, member);
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toContain(`has mode ${mode.toString(8)}: other users could read or change it`);
      const hint = /readable only for your group: (.*)\n/.exec(refused.stderr)?.[1] ?? "";
      Bun.spawnSync(["sh", "-c", hint.replaceAll("sudo ", "")]);
      expect((await check(flags, SERVICE)).exitCode).toBe(0);
    },
  );

  test("a shared key and a user file, too; a change by root keeps that, one by the service makes it its own", async () => {
    const shared = join(folder.path, "key");
    writeFileSync(shared, "5a".repeat(32));
    chownSync(shared, 0, GROUP);
    chmodSync(shared, 0o640);
    expect((await check(["--key-file", shared], member)).exitCode).toBe(0);
    const roots = join(folder.path, "roots");
    mkdirSync(roots, { mode: 0o755 });
    await addUser(roots);
    chownSync(join(roots, "users.json"), 0, GROUP);
    chmodSync(join(roots, "users.json"), 0o640);
    await run(["users", "disable", "ann"], { data: roots });
    const { uid, gid, mode } = lstatSync(join(roots, "users.json"));
    expect([uid, gid, mode & 0o777]).toEqual([0, GROUP, 0o640]);
    expect(await run(["users", "list"], { data: roots, prefix: asPerson(member) })).toMatchObject({
      exitCode: 0,
    });
  });
});

describe.skipIf(lacks("setpriv"))(
  "a folder on a volume that root owns and a group may write (fsGroup)",
  () => {
    beforeEach(() => {
      chownSync(data, 0, GROUP);
      chmodSync(data, 0o2775);
    });

    test("can be used by the service whose group that is alone", async () => {
      const options = { data, prefix: asPerson({ ...SERVICE, groups: [GROUP] }) };
      const added = await run(["users", "add", "ann", "--password-stdin"], { ...options, stdin: PASSWORD });
      expect(added).toMatchObject({ exitCode: 0, stderr: "" });
      await using server = await serve(["--tls"], options);
      const client = await run(["connect", `ann@${server.address}`, "--tls", "--accept-new", "--send", "x"], {
        env,
      });
      expect(client).toMatchObject({ exitCode: 0, stdout: "x\n" });
      await server.stop();
      expect(server.stderr.text).toBe("");
    });

    test("is refused where the group has other members, or is not the service's, whatever $USER says", async () => {
      const name = process.env["USER"] ?? "root";
      const list = (who: Person, more: Record<string, string> = {}) =>
        run(["users", "list"], { data, prefix: asPerson(who), env: more });
      const refused = {
        exitCode: 1,
        stderr: expect.stringContaining(`${data} has mode 775: other users could replace`),
      };
      expect(await list(SERVICE)).toMatchObject(refused);
      // Debian's group `staff` has a name, and on many machines members; `nogroup` is the primary group of others.
      chownSync(data, 0, 65_534);
      for (const user of [name, "nobody", "nogroup"]) {
        expect(await list({ ...SERVICE, groups: [65_534] }, { USER: user, LOGNAME: user })).toMatchObject(
          refused,
        );
      }
    });
  },
);

test.skipIf(lacks("setpriv"))(
  "what a killed process left half made, a private key too, is removed by the next one",
  async () => {
    const left = [
      ".tls-key.pem.4711.00112233aabb.tmp",
      ".tls-cert.pem.4711.00112233aabb.tmp",
      ".key.1.00112233aabb.tmp",
    ];
    for (const name of left) writeFileSync(join(data, name), "-----BEGIN PRIVATE KEY-----");
    await using server = await serve(["--auth", "none", "--tls", "--key-file", join(data, "key")], {
      data,
      prefix,
    });
    await server.stop();
    expect(readdirSync(data).sort()).toEqual(["key", "parley.log", "tls-cert.pem", "tls-key.pem"]);
    rmSync(join(data, "key"));
  },
);

const AS_ROOT_OF_OWN = [...asPerson(SERVICE), "unshare", "--user", "--map-root-user"];

test.skipIf(lacks("setpriv", "unshare") || Bun.spawnSync([...AS_ROOT_OF_OWN, "true"]).exitCode !== 0)(
  "who is root in a namespace of their own alone works with their own folder, and finds those above not their own",
  async () => {
    const stdin = PASSWORD;
    const argv = ["users", "add", "ann", "--password-stdin"];
    const added = await run(argv, { data, prefix: AS_ROOT_OF_OWN, stdin });
    expect(added).toMatchObject({ exitCode: 0, stderr: "" });
    expectOwned();
  },
);

test.skipIf(lacks("setpriv"))(
  "--check accepts a log of the service's in a folder where it can make no file",
  async () => {
    using folder = tempFolder();
    chmodSync(folder.path, 0o755);
    const log = join(folder.path, "parley.log");
    writeFileSync(log, "before\n", { mode: 0o600 });
    chownSync(log, SERVICE.uid, SERVICE.gid);
    using own = tempFolder();
    chownSync(own.path, SERVICE.uid, SERVICE.gid);
    const argv = ["serve", "--check", "--port", "0", "--auth", "none", "--log", log];
    const checked = await run(argv, { data: own.path, prefix });
    expect(checked).toMatchObject({ exitCode: 0, stderr: "the configuration is valid\n" });
    chmodSync(log, 0o400);
    expect(await run(argv, { data: own.path, prefix })).toMatchObject({ exitCode: 1 });
    expect([readFileSync(log, "utf8"), readdirSync(folder.path)]).toEqual(["before\n", ["parley.log"]]);
  },
);
