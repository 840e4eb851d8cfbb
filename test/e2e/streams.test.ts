// The standard streams, as shells give them: output that cannot be written is an error, a stream that other programs use too
// stays as it was, input is read on from where it stands, and what is no text is not taken for text.
// PARLEY_FULL=20 fills the disk of each command so often.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, run, serve, shell, type Serving } from "../support/executable.ts";
import { tempFolder, type TempFolder } from "../support/folder.ts";

setDefaultTimeout(90_000);

const TIMES = Number(process.env["PARLEY_FULL"] ?? 2);
const env = { PARLEY_PASSWORD: PASSWORD };
/** Before a command that would otherwise, were it wrong, go on for ever. */
const BOUND = "timeout -s KILL 30";

/** With users `ann` and `bob`, a session token of ann's, and a server. */
let folder: TempFolder;
let data: string;
let server: Serving;
let ann: string;
beforeAll(async () => {
  folder = tempFolder();
  data = folder.path;
  for (const name of ["ann", "bob"]) await addUser(data, name);
  server = await serve(["--max-per-user", "100", "--max-pending-per-address", "100"], { data });
  ann = `ann@${server.address}`;
  await run(["connect", ann, "--send", "x"], { data, env });
});
afterAll(async () => {
  await server.stop();
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** Names of the users in a data folder. */
async function usersIn(path: string): Promise<string[]> {
  const { stdout } = await run(["users", "list", "--json"], { data: path });
  const lines = stdout.split("\n").filter((line) => line !== "");
  return lines.map((line) => (JSON.parse(line) as { user: string }).user);
}

/** One sentence that begins so, at most one of advice, and nothing of a fault of parley's. */
function expectSentence(stderr: string, start: string): void {
  expect(stderr).toStartWith(`parley: error: ${start}`);
  expect(stderr).toMatch(/^parley: error: .*\n(?:parley: hint: .*\n)?$/);
  expect(stderr).not.toContain("fault of parley");
}

describe("on a full disk, it is an error that standard output cannot be written:", () => {
  test.concurrent.each([
    "--help",
    "--version",
    "help users",
    "users list",
    "users list --json",
    "users export",
    "users sessions",
    "users enable ann",
    "users add eve --generate",
    "users add eve --generate --json",
    "users passwd bob --generate",
    "connect ANN --check",
    "connect ANN --check --json",
    "connect ANN --send x",
    "connect ANN --send x --json",
    "connect ANN --send x --raw",
    "connect ANN --bench --count 10",
    "connect ANN --bench --count 10 --json",
    "connect --sessions",
    "serve --list-services",
    "serve --auth none --port 0 --data other",
    "serve --auth none --port 0 --data other --json",
  ])("%s", async (command) => {
    const argv = command.replace("ANN", ann).split(" ");
    for (let times = 0; times < TIMES; times++) {
      const { exitCode, stderr } = await shell(`${BOUND} "$@" > /dev/full`, argv, { data, env });
      expect([exitCode, command]).toEqual([1, command]);
      expectSentence(stderr, "cannot write standard output: the disk is full\n");
    }
  });
});

test.concurrent.each(["> /dev/full", ">&-"])(
  "a password that was made and could not be printed (%s) does not count",
  async (full) => {
    using own = tempFolder();
    await addUser(own.path);
    await using other = await serve([], { data: own.path });
    for (const argv of ["users passwd ann --generate", "users add bob --generate --json"]) {
      const { exitCode } = await shell(`"$@" ${full}`, argv.split(" "), { data: own.path });
      expect(exitCode).toBe(1);
    }
    expect(await usersIn(own.path)).toEqual(["ann"]);
    const talk = run(["connect", `ann@${other.address}`, "--no-token", "--send", "x"], { env });
    expect(await talk).toMatchObject({ exitCode: 0, stdout: "x\n" });
    await other.stop();
  },
);

describe("a pipe that other programs write to, too, stays one that they can wait for:", () => {
  /** Runs `script` with a pipe as standard output and error; its reader, slow at first, says on 4 that two lines are there. */
  const share = (script: string, argv: string[] = []) =>
    shell(
      `mkfifo begun; exec 3>&1 4<> begun
       { ${script}; } 2>&1 | {
         for ((i = 1; i < 5000; i++)); do read -r line; echo "$line"; ((i == 2)) && echo >&4; done
         cat
       } | grep -cx '[1-9][0-9]*'`,
      argv,
      { data, env },
    );
  const COUNT = 'seq 300000; echo "seq $?" >&3';

  test.concurrent("commands that print, converse and fail", async () => {
    const script = `"$1" --version; "$1" users list; "$@" --trace; "$1" nonsense; ${COUNT}`;
    const { stdout } = await share(script, ["connect", ann, "--send", "hello"]);
    expect(stdout).toBe("seq 0\n300000\n");
  });

  test.concurrent("a server that goes on, and logs there", async () => {
    const script = `"$1" serve --auth none --port 0 --log /dev/stderr & read -r <&4
      ${COUNT}
      kill -TERM $!; wait $!; echo "serve $?" >&3`;
    expect((await share(script)).stdout).toBe("seq 0\nserve 0\n300000\n");
  });
});

describe("what is not UTF-8", () => {
  const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
  const words = Buffer.from("correct horse\n");
  /** Both would be the same text, were they taken for text. */
  const [one, two] = [
    [0xff, 0xfe],
    [0xfe, 0xff],
  ].map((bytes) => Buffer.concat([Buffer.from(bytes), words]));

  test.concurrent("is no password, from wherever it comes", async () => {
    using own = tempFolder();
    const file = join(own.path, "password");
    writeFileSync(file, one!);
    for (const argv of ["users add eve", "users passwd bob", "connect ANN --no-token --send x"]) {
      const command = argv.replace("ANN", ann).split(" ");
      const named = await run([...command, "--password-file", file], { data });
      expect([named.exitCode, named.stdout]).toEqual([1, ""]);
      expectSentence(named.stderr, `${file} is not UTF-8 text\n`);
      const piped = await run([...command, "--password-stdin"], { data, stdin: one });
      expect([piped.exitCode, piped.stdout]).toEqual([1, ""]);
      expectSentence(piped.stderr, "the password on standard input is not UTF-8 text\n");
    }
    expect(await usersIn(data)).toEqual(["ann", "bob"]);
  });

  test.concurrent("lets in nobody who says other bytes", async () => {
    using own = tempFolder();
    await using other = await serve([], { data: own.path });
    await run(["users", "add", "eve", "--password-stdin"], { data: own.path, stdin: one });
    const argv = ["connect", `eve@${other.address}`, "--password-stdin", "--send", "x"];
    const { exitCode, stdout } = await run(argv, { stdin: two });
    expect([exitCode, stdout]).toEqual([1, ""]);
    await other.stop();
  });

  test.concurrent("is nothing to import", async () => {
    using own = tempFolder();
    const file = join(own.path, "users");
    const { bytes } = await run(["users", "export"], { data });
    const wrong = Buffer.concat([bytes, Buffer.from([0xff, 0x0a])]);
    writeFileSync(file, wrong);
    const other = join(own.path, "other");
    const named = await run(["users", "import", file], { data: other });
    const piped = await run(["users", "import", "-"], { data: other, stdin: wrong });
    expect([named.exitCode, piped.exitCode, await usersIn(other)]).toEqual([1, 1, []]);
    expectSentence(named.stderr, `${file} is not UTF-8 text\n`);
    expectSentence(piped.stderr, "standard input is not UTF-8 text\n");
  });

  test.concurrent("a byte order mark is, and is no part of what it stands before", async () => {
    using own = tempFolder();
    const [password, users] = [join(own.path, "password"), join(own.path, "users")];
    writeFileSync(password, Buffer.concat([BOM, words]));
    const { bytes } = await run(["users", "export"], { data });
    writeFileSync(users, Buffer.concat([BOM, bytes]));
    const argv = ["connect", ann, "--no-token", "--send", "x"];
    const logins = [
      run([...argv, "--password-file", password]),
      run([...argv, "--password-stdin"], { stdin: Buffer.concat([BOM, words]) }),
    ];
    for (const login of logins) expect(await login).toMatchObject({ exitCode: 0, stdout: "x\n", stderr: "" });
    const other = join(own.path, "other");
    expect(await run(["users", "import", users], { data: other })).toMatchObject({ exitCode: 0 });
    expect(await usersIn(other)).toEqual(["ann", "bob"]);
  });

  test.concurrent.each([
    [`"$1" connect "$2" --send $'a\\xff'`, "an argument is not UTF-8 text"],
    [`"$1" users list --data $'/tmp/\\xff'`, "an argument is not UTF-8 text"],
    [`PARLEY_PASSWORD=$'\\xff\\xfe' "$1" connect "$2" --send x`, "the value of $PARLEY_PASSWORD is not"],
    [`PARLEY_DATA=$'/tmp/\\xff' "$1" users list`, "the value of $PARLEY_DATA is not"],
    [`HOME=$'/tmp/\\xff' "$1" --version`, "the value of $HOME is not"],
  ])("is a usage error: %s", async (script, sentence) => {
    const { exitCode, stdout, stderr } = await shell(script, [ann]);
    expect([exitCode, stdout]).toEqual([2, ""]);
    expectSentence(stderr, sentence);
  });

  test.concurrent("does not matter in a variable of other programs", async () => {
    expect(await shell(`OTHER=$'\\xff' "$1" --version`)).toMatchObject({ exitCode: 0, stderr: "" });
  });
});

describe("a file is read on from where it stands:", () => {
  const from = (script: string, content: string) => {
    const file = join(data, `input-${Bun.randomUUIDv7()}`);
    writeFileSync(file, content);
    return shell(script, [ann, file], { data, env });
  };

  test.concurrent("what a shell has read of it is not sent", async () => {
    const secret = `${PASSWORD}\none\ntwo\n`;
    const script = `unset PARLEY_PASSWORD
      { read -r PARLEY_PASSWORD; export PARLEY_PASSWORD; "$1" connect "$2" --no-token; } < "$3"`;
    expect(await from(script, secret)).toMatchObject({ exitCode: 0, stdout: "one\ntwo\n", stderr: "" });
  });

  test.concurrent("nor is it a password, or to be imported", async () => {
    const { stdout } = await run(["users", "export"], { data });
    const imported = await from('{ read -r; "$1" users import - --data new; } < "$3"', `first\n${stdout}`);
    expect(imported).toMatchObject({ exitCode: 0, stdout: "imported 2 users, skipped 0, replaced 0\n" });
    const login = '{ read -r; "$1" connect "$2" --no-token --password-stdin --send x; } < "$3"';
    expect(await from(login, `first\n${PASSWORD}\n`)).toMatchObject({ exitCode: 0, stdout: "x\n" });
  });

  test.concurrent.each(["--no-token", "--raw"])(
    "what connect %s has read of it, nobody reads again",
    async (flag) => {
      const script = `while read -r line; do echo "shell: $line"; "$1" connect "$2" ${flag}; done < "$3"
      exec 4< "$3"; "$1" connect "$2" ${flag} <&4; cat <&4`;
      const { stdout } = await from(script, "one\ntwo\nthree\n");
      expect(stdout).toBe("shell: one\ntwo\nthree\none\ntwo\nthree\n");
    },
  );

  test.concurrent("connect --send reads nothing of it", async () => {
    const script = 'while read -r line; do "$1" connect "$2" --send "got $line"; done < "$3"';
    expect((await from(script, "one\ntwo\n")).stdout).toBe("got one\ngot two\n");
  });

  test.concurrent("one of /proc, which has no size, has content", async () => {
    for (const script of ['"$1" users import - < /proc/self/status', '"$1" users import /proc/self/status']) {
      const { exitCode, stdout, stderr } = await shell(script);
      expect([exitCode, stdout]).toEqual([1, ""]);
      expectSentence(stderr, "line 1: ");
    }
    const { stdout } = await from('"$1" connect "$2" < /proc/sys/kernel/ostype', "");
    expect(stdout).toBe("Linux\n");
  });
});

describe("standard input that cannot be read:", () => {
  test.concurrent.each(["< /tmp", "0> file", "0> >(true)", "<&-"])("%s", async (input) => {
    for (const argv of ["connect ANN", "users import -", "users passwd bob --password-stdin"]) {
      const words = argv.replace("ANN", ann).split(" ");
      const result = await shell(`${BOUND} "$@" ${input}`, words, { data, env });
      expect([result.exitCode, result.stdout]).toEqual([1, ""]);
      expectSentence(result.stderr, "cannot read standard input: it is ");
    }
  });

  test.concurrent("is no failure of what does not read it", async () => {
    for (const argv of [["--version"], ["connect", ann, "--send", "x"]]) {
      expect(await shell('"$@" <&-', argv, { data, env })).toMatchObject({ exitCode: 0, stderr: "" });
    }
  });
});

describe("a stream that is closed:", () => {
  test.concurrent.each([
    "--version",
    "users list",
    "users export",
    "connect ANN --send x",
    "serve --auth none --port 0 --data other",
  ])("standard output is missed by %s", async (command) => {
    const argv = command.replace("ANN", ann).split(" ");
    const { exitCode, stderr } = await shell(`${BOUND} "$@" >&-`, argv, { data, env });
    expect([exitCode, command]).toEqual([1, command]);
    expectSentence(stderr, "cannot write standard output: it is closed");
    expect((await shell(`${BOUND} "$@" >&- 2>&-`, argv, { data, env })).exitCode).toBe(1);
  });

  test.concurrent("standard output is not missed by what prints nothing", async () => {
    expect((await shell('"$@" </dev/null >&-', ["connect", ann], { data, env })).exitCode).toBe(0);
    const check = ["serve", "--auth", "none", "--port", "0", "--check"];
    expect((await shell('"$@" >&-', check)).exitCode).toBe(0);
  });

  test.concurrent("without standard error there is the exit code", async () => {
    const argv = ["connect", ann, "--send", "x"];
    expect(await shell('"$@" 2>&-', argv, { data, env })).toMatchObject({ exitCode: 0, stdout: "x\n" });
    for (const closed of ["2>&-", "2> /dev/full"]) {
      expect((await shell(`"$1" nonsense ${closed}`)).exitCode).toBe(2);
      expect((await shell(`"$1" users enable eve ${closed}`)).exitCode).toBe(1);
    }
  });
});

test.concurrent("what is printed before an error is there for a reader that is slow at first", async () => {
  using own = tempFolder();
  await using other = await serve([], { data: own.path });
  // The pipe is full until the server has refused the login.
  const script = `{ head -c 65536 /dev/zero; "$@"; echo "exit $?" >&2; } | {
    until grep -q login-refused "$PARLEY_DATA/parley.log"; do :; done; tail -c +65537; }`;
  const argv = ["connect", `ann@${other.address}`, "--no-token", "--check"];
  const { stdout, stderr } = await shell(script, argv, { data: own.path, env });
  expect(stdout).toMatch(/^✔ tcp .*\n✔ hello .*\n✘ login .*\n$/);
  expect(stderr).toEndWith("exit 3\n");
  await other.stop();
});
