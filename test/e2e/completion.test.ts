// The Tab key in bash, zsh and fish, each on a pseudo-terminal: what is typed, and the line that the shell makes of it.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { addUser, EXECUTABLE, run } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { lacksTools } from "../support/privileges.ts";
import { startRedis } from "../support/redis.ts";
import { Screen } from "../support/screen.ts";

setDefaultTimeout(60_000);

const BASH_COMPLETION = "/usr/share/bash-completion/bash_completion";
/** A user whom a server has named so that a shell would obey, if it were not quoted. */
const HOSTILE = "e$(touch hacked)`touch hacked`";
const UNSHOWABLE = "x\u001b[31m\nhacked";

const folder = tempFolder();
const at = (...names: string[]) => join(folder.path, ...names);
const data = at("data");
const cwd = at("cwd");

beforeAll(async () => {
  for (const path of [data, at("other data"), cwd, at("cwd/sub folder"), at("bin"), at("zsh")])
    mkdirSync(path, { mode: 0o700 });
  symlinkSync(EXECUTABLE, at("bin/parley"));
  for (const name of ["ann", "anna", "bob", "žofie"]) await addUser(data, name);
  await addUser(at("other data"), "carl");
  await run(["users", "tag", "ann", "teacher"], { data });
  for (const name of ["my file.ts", "über.ts"]) writeFileSync(join(cwd, name), "");
  const since = "2026-01-02T03:04:05.000Z";
  const servers = ["127.0.0.1:13131", "[::1]:4000"].map((server) => ({ server, pin: "sha256/", since }));
  const tokens = ["ann", HOSTILE, UNSHOWABLE].map((user) => ({
    server: "example.org:13131",
    user,
    token: `prly_${user}`,
    expires: "2999-01-02T03:04:05.000Z",
  }));
  writeFileSync(join(data, "known-servers.json"), JSON.stringify({ version: 1, servers }), { mode: 0o600 });
  writeFileSync(join(data, "tokens.json"), JSON.stringify({ version: 1, tokens }), { mode: 0o600 });
});
afterAll(() => folder[Symbol.dispose]());

/** A shell that is set up as `parley help completion` says. Ctrl-X p prints the line as it is, and empties it. */
interface Shell {
  /** What stands above its commands there. */
  name: string;
  program: string;
  isMissing?: boolean;
  /** What it reads when it starts. @param setup the commands of `parley help completion`. */
  rc: (setup: string) => string;
  rcPath: string;
  start: string;
}

const BASH_RC = `PS1='> '
PATH=${at("bin")}:$PATH
bind 'set enable-bracketed-paste off'
show() { printf '\\n<<%s>>\\n' "$READLINE_LINE"; READLINE_LINE=''; }
bind -x '"\\C-xp": show'
`;
const SHELLS: Shell[] = [
  {
    name: "bash without it",
    program: "bash",
    rc: (setup) => `${BASH_RC}${setup}\ncd ${cwd}\n`,
    rcPath: at("bashrc"),
    start: `exec bash --noprofile --rcfile ${at("bashrc")} -i`,
  },
  {
    name: "bash, with the package bash-completion",
    program: "bash",
    isMissing: !existsSync(BASH_COMPLETION),
    rc: (setup) => `${BASH_RC}. ${BASH_COMPLETION}\n${setup}\ncd ${cwd}\n`,
    rcPath: at("bashrc-more"),
    start: `exec bash --noprofile --rcfile ${at("bashrc-more")} -i`,
  },
  {
    name: "zsh",
    program: "zsh",
    rc: (setup) => `PS1='> '
PATH=${at("bin")}:$PATH
autoload -Uz compinit; compinit -u -D
${setup}
show() { zle -I; print -r -- "<<$BUFFER>>"; BUFFER=''; }
zle -N show
bindkey -e
bindkey '^Xp' show
cd ${cwd}
`,
    rcPath: at("zsh/.zshrc"),
    start: `ZDOTDIR=${at("zsh")} exec zsh -i`,
  },
  {
    name: "fish",
    program: "fish",
    rc: (setup) => `function fish_prompt; printf '> '; end
set -g fish_greeting
set -gx PATH ${at("bin")} $PATH
${setup}
bind \\cxp 'printf "\\n<<%s>>\\n" (commandline | string collect); commandline -r ""; commandline -f repaint'
cd ${cwd}
`,
    rcPath: at("config.fish"),
    start: `exec fish -i -C 'source ${at("config.fish")}'`,
  },
];

/** The indented lines below a line of `parley help completion` that begins so. */
async function setupOf(name: string): Promise<string> {
  const { stdout } = await run(["help", "completion"]);
  const [, rest = ""] = stdout.split(`\n${name}`);
  const [, lines = ""] = /^[^\n]*:\n\n((?: {4}.*\n)+)/.exec(rest) ?? [];
  return lines.replaceAll(/^ {4}/gm, "");
}

async function open({ name, rc, rcPath, start }: Shell): Promise<Screen> {
  const setup = await setupOf(name);
  expect(setup).toContain("parley help completion");
  writeFileSync(rcPath, rc(setup));
  const screen = new Screen([], {
    data,
    script: start,
    cols: 200,
    env: { LANG: "C.UTF-8", LC_ALL: "C.UTF-8" },
  });
  await screen.see("> ");
  return screen;
}

/** The line that `typed` becomes. */
async function complete(screen: Screen, typed: string): Promise<string> {
  screen.type(`${typed}\u0018p`);
  await screen.see(/<<[^]*?>>/);
  return [...screen.text.text.matchAll(/<<([^]*?)>>/g)].at(-1)?.[1] ?? "";
}

/** What is typed, and what it becomes everywhere. */
const LINES: [typed: string, line: string][] = [
  ["parley se\t", "parley serve "],
  ["parley use\tpassw\t", "parley users passwd "],
  ["parley users hosts for\t", "parley users hosts forget "],
  ["parley help use\t", "parley help users "],
  ["parley help comp\tz\t", "parley help completion zsh "],
  ["parley serve --strict\t", "parley serve --strict-port "],
  ["parley users add ann --gen\t", "parley users add ann --generate "],
  ["parley serve --log-format j\t", "parley serve --log-format json "],
  ["parley serve --log-format=j\t", "parley serve --log-format=json "],
  ["parley serve --port 1 --service ch\t", "parley serve --port 1 --service chat "],
  ["parley users remove b\t", "parley users remove bob "],
  ["parley users remove --yes žo\t", "parley users remove --yes žofie "],
  ["parley users revoke --user=b\t", "parley users revoke --user=bob "],
  ["parley users tag bob tea\t", "parley users tag bob teacher "],
  ["parley users add b\t", "parley users add b"],
  ["parley users remove --data ../other\\ data c\t", "parley users remove --data ../other\\ data carl "],
  ["parley users remove --data='../other data' c\t", "parley users remove --data='../other data' carl "],
  ["parley connect 127\t", "parley connect 127.0.0.1:13131 "],
  ["parley connect ann@ex\t", "parley connect ann@example.org:13131 "],
  ["parley connect bob@127\t", "parley connect bob@127.0.0.1:13131 "],
  ["seq 9 | parley connect --json 127\t", "seq 9 | parley connect --json 127.0.0.1:13131 "],
  ["parley serve --handler my\t", "parley serve --handler my\\ file.ts "],
  ["parley serve --handler=my\t", "parley serve --handler=my\\ file.ts "],
  ["parley serve --handler üb\t", "parley serve --handler über.ts "],
  ["parley serve --data sub\t", "parley serve --data sub\\ folder/"],
  ["parley serve --data=sub\t", "parley serve --data=sub\\ folder/"],
  ["parley serve -- cat my\t", "parley serve -- cat my\\ file.ts "],
  ["parley users export > my\t", "parley users export > my\\ file.ts "],
  ["parley users remove --data /nowhere a\t", "parley users remove --data /nowhere a"],
  ["parley no-such-command a\t", "parley no-such-command a"],
  ["no/such/parley users remove b\t", "no/such/parley users remove b"],
  ["parley connect --user x\t", "parley connect --user x"],
];

describe.each(SHELLS)("$name", (shell) => {
  const isMissing = lacksTools(shell.program) || shell.isMissing === true;

  test.skipIf(isMissing)("completes commands, flags, values, names, servers and files", async () => {
    await using screen = await open(shell);
    const lines: [string, string][] = [];
    for (const [typed] of LINES) lines.push([typed, await complete(screen, typed)]);
    expect(lines).toEqual(LINES);
    expect(screen.text.text).not.toMatch(/error:|unknown command:|no such file|not found/i);
  });

  test.skipIf(isMissing)("shows what a flag is for", async () => {
    await using screen = await open(shell);
    screen.type("parley serve --log-\t\t");
    await screen.see("minimum level (default info)");
  });

  test.skipIf(isMissing)("quotes a name that a server has chosen", async () => {
    await using screen = await open(shell);
    const line = await complete(screen, "echo; parley connect --user e\t");
    const words = Bun.spawnSync([shell.program, "-c", line.replace("echo; parley", "printf '%s\\n'")], {
      cwd,
    });
    expect(words.stdout.toString()).toBe(`connect\n--user\n${HOSTILE}\n`);
  });
});

test("what the command says fits 80 columns, and it knows no other shell", async () => {
  const { stdout } = await run(["help", "completion"]);
  expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
  const { exitCode, stderr } = await run(["help", "completion", "tcsh"]);
  expect([exitCode, stderr]).toEqual([
    2,
    'parley: error: unknown shell "tcsh"\nparley: hint: use one of bash, zsh, fish\n',
  ]);
});

test("the names that cannot be had are an error of the command, which the scripts do not show", async () => {
  const { exitCode, stdout, stderr } = await run([
    "help",
    "completion",
    "bash",
    "--",
    "parley",
    "users",
    "enable",
    "",
  ]);
  expect([exitCode, stdout]).toEqual([1, ""]);
  expect(stderr).toContain("there is no folder");
});

test.skipIf(lacksTools("redis-server"))(
  "the names of accounts in an engine are found, and nothing is kept of it",
  async () => {
    await using redis = await startRedis();
    using folder = tempFolder();
    await run(["users", "add", "dora", "--generate", "--store", redis.url]);
    const words = ["parley", "users", "enable", "--store", redis.url, ""];
    const { stdout } = await run(["help", "completion", "bash", "--", ...words], { data: folder.path });
    expect(stdout).toBe("words\ndora\t\n");
    expect(readdirSync(folder.path)).toEqual([]);
  },
);

test("an engine that does not answer is not waited for", async () => {
  using deaf = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const words = ["parley", "users", "enable", "--store", `redis://127.0.0.1:${deaf.port}`, ""];
  const { exitCode, stdout, stderr } = await run(["help", "completion", "bash", "--", ...words]);
  expect([exitCode, stdout]).toEqual([4, ""]);
  expect(stderr).toContain("the store did not answer within 500 ms");
});

test("nothing is written", async () => {
  using empty = tempFolder();
  const path = join(empty.path, "data");
  for (const words of [["users", "enable"], ["connect"], ["connect", "--user"]]) {
    await run(["help", "completion", "fish", "--", "parley", ...words, ""], { data: path });
  }
  expect(await Array.fromAsync(new Bun.Glob("**").scan({ cwd: empty.path, onlyFiles: false }))).toEqual([]);
});
