// Whose files are they? What root makes in another user's folder is that user's; what root owns and the service may read is
// trusted; and where it is not, the hint says what to change. All of it needs root.

import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { selfSigned } from "../support/certificates.ts";
import { addUser, PASSWORD, run, serve } from "../support/executable.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";
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

  test("serve, with its log, its key and its certificate, once as root; and the service starts", async () => {
    await addUser(data);
    const flags = ["--tls", "--key-file", join(data, "key"), "--port-file", join(data, "port")];
    for (const who of [undefined, prefix]) {
      await using server = await serve(flags, { data, prefix: who });
      expectOwned();
      expect(readdirSync(data).filter((name) => /^sessions-[0-9a-f]+\.json$/.test(name))).toHaveLength(1);
      await server.stop();
      expect(server.stderr.text.replace(/^a new key was made.*\n/, "")).toBe("");
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
    expect((await run(["users", "list"], { data: deep })).exitCode).toBe(0);
    expectOwned();
    expect([join(data, "a"), deep].map((path) => lstatSync(path).mode & 0o777)).toEqual([0o700, 0o700]);
  });

  test("--init's handler and its types", async () => {
    await run(["serve", "--init", join(data, "greet.ts")]);
    expectOwned();
    expect(readdirSync(data).sort()).toEqual(["greet.ts", "parley.d.ts"]);
  });

  test("a file that root had put there: the next change by root makes it the user's", async () => {
    await addUser(data);
    chownSync(join(data, "users.json"), 0, 0);
    await run(["users", "disable", "ann"], { data });
    expectOwned();
  });

  test("but a file that was there is given to nobody: it may be a link to one of root's", async () => {
    const secret = join(folder.path, "secret");
    writeFileSync(secret, "root's own", { mode: 0o600 });
    const child = Bun.spawnSync(["ln", secret, join(data, ".users.json.lock")]);
    expect(child.exitCode).toBe(0);
    await run(["users", "list"], { data });
    await addUser(data);
    expect([lstatSync(secret).uid, lstatSync(secret).mode & 0o777]).toEqual([0, 0o600]);
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
    await server.stderr.see("no account can be changed, and no session token issued");
    await server.stop();
  });
});

const GROUP = 64_077;

describe.skipIf(lacks("setpriv"))("what root owns and the service may read is trusted:", () => {
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
        stderr: "everything is in order\n",
      });
    },
  );

  test.each([0o644, 0o660, 0o650])(
    "not a key of mode %o, with a hint that leaves it readable",
    async (mode) => {
      const flags = await identity(mode, GROUP);
      const refused = await check(flags, member);
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toContain(`has mode ${mode.toString(8)}: others could read or change it`);
      const hint = /readable for your group alone: (.*)\n/.exec(refused.stderr)?.[1] ?? "";
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
        stderr: expect.stringContaining(`${data} has mode 775: others could replace`),
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
