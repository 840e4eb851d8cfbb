// The terminal of a client, joined to that of the server's program: keys, size, the ways to its end, stops and cuts.

import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../../support/attack.ts";
import { cuttingProxy } from "../../support/cutting-proxy.ts";
import {
  addUser,
  deadPort,
  EXECUTABLE,
  PASSWORD,
  run,
  serve,
  type Serving,
} from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { lacks, lacksTools } from "../../support/privileges.ts";
import { childrenOf } from "../../support/program.ts";
import { Screen, type ScreenOptions } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const CTRL_Z = "\u001a";
const LEAVE = "\r~.";

const SHELL = ["sh", "-i"];
const sh = (script: string, ...words: string[]): string[] => ["sh", "-c", script, "sh", ...words];

/** Draws as a full-screen program does, and says each size that its window gets. */
const FULL_SCREEN = sh(
  `stty raw -echo; trap 'printf "drawn at %s\\r\\n" "$(stty size)"' WINCH; ` +
    `printf '\\033[>1u\\033[?1049h\\033[>3u\\033[>4;2m\\033[2;9r\\033[?25l\\033[?1000;1006;2004h\\033[5 q\\033(0\\033(Bdrawn\\r\\n'; while :; do sleep 0.02; done`,
);

/** The settings of the terminal before and after, and the exit code. */
const AROUND = 'echo "is $(stty -g)."; "$0" "$@"; echo "code $?"; echo "is $(stty -g)."';

const SETTINGS = /is [\da-f:]+\./;
const ALL_SETTINGS = /is ([\da-f:]+)\./g;

const cleaning: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of cleaning.splice(0)) await one[Symbol.asyncDispose]();
});

async function serveProgram(program: readonly string[], flags: readonly string[] = []): Promise<Serving> {
  const server = await serve(["--auth", "none", "--pty", ...flags, "--", ...program]);
  cleaning.push(server);
  return server;
}

function joined(address: string, options: ScreenOptions = {}, flags: readonly string[] = []): Screen {
  const screen = new Screen(["connect", "--pty", ...flags, address], options);
  cleaning.push(screen);
  return screen;
}

/** The client in a {@link Screen} with a script. */
function clientOf(screen: Screen): number {
  const [child, ...others] = childrenOf(screen.pid);
  if (child === undefined || others.length > 0) throw new Error("the script has not one child");
  return child;
}

function timesIn(text: string, piece: string): number {
  return text.split(piece).length - 1;
}

describe("a shell", () => {
  let server: Serving;
  beforeAll(async () => {
    server = await serve(["--auth", "none", "--pty", "--", ...SHELL]);
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("shows each key once, has the client's kind and size of terminal, and follows its size", async () => {
    const screen = joined(server.address, { env: { TERM: "screen-256color" }, cols: 97 });
    await screen.see("Enter ~ ? for help");
    screen.type("echo seen$((1+1)) $TERM $(stty size)\r");
    await screen.see("seen2 screen-256color 24 97\r\n");
    expect(timesIn(screen.raw, "echo seen$((1+1))")).toBe(1);
    screen.resize(131, 43);
    await until("the new size", true, () => {
      screen.type("stty size\r");
      return screen.raw.includes("43 131");
    });
    screen.type("exit 0\r");
    expect(await screen.exited).toBe(0);
  });

  test.each([
    ["Eterm", "dumb"],
    ["../../etc/passwd", "dumb"],
    ["", "dumb"],
  ])("with $TERM %j at the client has the kind %s", async (TERM, kind) => {
    const screen = joined(server.address, { env: { TERM } });
    screen.type("echo kind=$TERM.\r");
    await screen.see(`kind=${kind}.`);
    screen.type(LEAVE);
    expect(await screen.exited).toBe(0);
  });

  test("gets Ctrl-C, Ctrl-Z and Ctrl-D", async () => {
    const screen = joined(server.address);
    const seconds = 1_000_000 + process.pid;
    screen.type(`sleep ${seconds}\r`);
    await until("sleep", 1, () => sleeps(seconds));
    screen.type(CTRL_Z);
    await screen.see("Stopped");
    screen.type("fg; echo after$((1+1))\r");
    await screen.see(/\)\)\r\nsleep/); // in the foreground
    screen.type(CTRL_C);
    await until("no sleep", 0, () => sleeps(seconds));
    screen.type("echo free$((1+1))\r");
    await screen.see("free2");
    screen.type(CTRL_D);
    expect(await screen.exited).toBe(0);
  });

  test("gets Ctrl-C while a program writes without end", async () => {
    const screen = joined(server.address);
    screen.type("yes\r");
    await screen.see("y\r\n".repeat(100_000));
    screen.type(CTRL_C);
    screen.type("echo free$((1+1))\r");
    await screen.see("free2");
  });

  test("the commands: help, one tilde, leave", async () => {
    const screen = joined(server.address);
    screen.type("\r~?");
    await screen.see("~. leaves");
    screen.type("\r~~/x\r");
    await screen.see("~/x");
    expect(screen.raw).not.toContain("~~/x");
    screen.type(LEAVE);
    expect(await screen.exited).toBe(0);
  });
});

/** The number of processes `sleep SECONDS`. */
function sleeps(seconds: number): number {
  const { stdout } = Bun.spawnSync(["pgrep", "-xf", `sleep ${seconds}`]);
  return stdout.toString().split("\n").filter(Boolean).length;
}

describe("the terminal is as it was after", () => {
  const signalled = (name: NodeJS.Signals) => (screen: Screen) => process.kill(clientOf(screen), name);
  const ways: [string, (screen: Screen, server: Serving) => unknown, number][] = [
    ["~.", (screen) => screen.type(LEAVE), 0],
    ["SIGTERM", signalled("SIGTERM"), 143],
    ["SIGHUP", signalled("SIGHUP"), 129],
    ["SIGINT", signalled("SIGINT"), 130],
    ["a loss", (_, server) => server.signal("SIGKILL"), 1],
    ["the end of the server", (_, server) => server.signal("SIGTERM"), 5],
  ];
  test.each(ways)("%s", async (_, end, code) => {
    const server = await serveProgram(FULL_SCREEN, ["--drain", "100ms"]);
    const screen = joined(server.address, { script: AROUND }, ["--retry", "0"]);
    await screen.see(SETTINGS);
    await screen.see("drawn");
    await end(screen, server);
    await screen.see(`code ${code}`);
    await screen.see(SETTINGS);
    const [before, after] = [...screen.text.text.matchAll(ALL_SETTINGS)].map(([, settings]) => settings);
    expect(after).toBe(before!);
    const rest = screen.raw.slice(screen.raw.lastIndexOf("drawn"));
    for (const end of [
      "[?1049l",
      "[?25h",
      "[?1000l",
      "[?1006l",
      "[?2004l",
      "[>4;0m",
      "7\u001b[r\u001b8",
      "[0 q",
    ])
      expect(rest).toContain(`\u001b${end}`);
    // The keyboard's mode of each screen, while that one is shown.
    const screenEnds = rest.indexOf("[?1049l");
    expect([rest.indexOf("[<u") < screenEnds, rest.lastIndexOf("[<u") > screenEnds]).toEqual([true, true]);
  });

  test("a password, the permission to draw, and the end of the program", async () => {
    using folder = tempFolder();
    await addUser(folder.path);
    await using server = await serve(["--pty", "--", ...sh("stty raw -echo; printf drawn; exit 3")], {
      data: folder.path,
    });
    await using screen = new Screen(["connect", "--exit-status", `ann@${server.address}`], {
      script: AROUND,
    });
    await screen.see("do you trust this server that far?");
    screen.enter("y");
    await screen.see("password for ann:");
    screen.enter(PASSWORD);
    await screen.see("drawn");
    await screen.see("code 3");
    await screen.see(SETTINGS);
    const [before, after] = [...screen.text.text.matchAll(ALL_SETTINGS)].map(([, settings]) => settings);
    expect(after).toBe(before!);
  });

  test("the end of the program", async () => {
    const server = await serveProgram(sh("stty raw -echo; printf done; exit 4"));
    const screen = joined(server.address, { script: AROUND }, ["--exit-status"]);
    await screen.see("done");
    await screen.see("code 4");
    await screen.see(SETTINGS);
    const [before, after] = [...screen.text.text.matchAll(ALL_SETTINGS)].map(([, settings]) => settings);
    expect(after).toBe(before!);
  });

  test("a window that is closed ends the client, and hangs up the program", async () => {
    using folder = tempFolder();
    const said = join(folder.path, "said");
    const script = `trap 'echo hung up > "$1"; exit' HUP; echo ready; while :; do sleep 0.02; done`;
    const server = await serveProgram(sh(script, said));
    const screen = joined(server.address);
    await screen.see("ready");
    screen.close();
    expect(await screen.exited).toBe(129);
    await until("a hang-up", true, async () => Bun.file(said).exists());
  });
});

test.skipIf(lacksTools("tmux"))("tmux has no mode of the program any more after ~.", async () => {
  using folder = tempFolder();
  const modes = "\\033[?1049h\\033[?7l\\033[4h\\033[3;9r\\033[?25l\\033[?1000;1006h\\033=";
  const server = await serveProgram(
    sh(`stty raw -echo; printf '${modes}drawn'; while :; do sleep 0.02; done`),
  );
  const tmux = (...words: string[]) => {
    const { stdout } = Bun.spawnSync(["tmux", "-S", join(folder.path, "tmux"), "-f", "/dev/null", ...words], {
      env: { ...process.env, PARLEY_DATA: folder.path },
    });
    return stdout.toString().trim();
  };
  const flags = ["alternate_on", "wrap_flag", "insert_flag", "cursor_flag", "mouse_any_flag", "keypad_flag"];
  const format = ["scroll_region_upper", "scroll_region_lower", ...flags]
    .map((name) => `#{${name}}`)
    .join(" ");
  const state = () => tmux("display-message", "-p", format);
  tmux("new-session", "-d", "-x", "80", "-y", "24", "sh");
  try {
    await until("a new terminal", "0 23 0 1 0 1 0 0", state);
    tmux("send-keys", `${EXECUTABLE} connect --pty ${server.address}`, "Enter");
    await until("the modes of the program", "2 8 1 0 1 0 1 1", state);
    tmux("send-keys", "Enter", "~.");
    await until("the modes after it", "0 23 0 1 0 1 0 0", state);
  } finally {
    tmux("kill-server");
  }
});

test("a client that stops gives the shell its terminal back as it was", async () => {
  const server = await serveProgram(sh("echo ready; cat"));
  const script = 'set -m; echo "is $(stty -g)."; "$0" "$@"; echo "is $(stty -g)."';
  const screen = joined(server.address, { script });
  await screen.see("ready");
  screen.type(`\r~${CTRL_Z}`);
  await screen.see(SETTINGS);
  const [before, after] = [...screen.text.text.matchAll(ALL_SETTINGS)].map(([, settings]) => settings);
  expect(after).toBe(before!);
});

describe("a client that is stopped", () => {
  const JOBS = 'set -m; "$0" "$@"; stty sane; echo stopped; read _; fg; echo "left with $?"';

  test.each([
    ["by Enter ~ Ctrl-Z", (screen: Screen) => screen.type(`\r~${CTRL_Z}`)],
    ["by SIGTSTP", (screen: Screen) => void process.kill(clientOf(screen), "SIGTSTP")],
    ["by SIGSTOP", (screen: Screen) => void process.kill(clientOf(screen), "SIGSTOP")],
  ])("%s is raw again after fg, has the new size, and the program draws its screen", async (_, stop) => {
    const script =
      `trap 'printf "drawn at %s\\n" "$(stty size)"' WINCH; trap 'echo interrupted' INT; ` +
      `printf 'ready\\n'; while :; do sleep 0.02; done`;
    const server = await serveProgram(sh(script));
    const screen = joined(server.address, { script: JOBS });
    await screen.see("ready");
    stop(screen);
    await screen.see("stopped");
    screen.resize(99, 33);
    screen.enter("");
    await screen.see("drawn at 33 99");
    screen.type(CTRL_C);
    await screen.see("interrupted");
    screen.type(LEAVE);
    await screen.see("left with 0");
  });
});

describe("what is pasted arrives whole:", () => {
  const LINES = Array.from({ length: 1024 }, (_, n) => `${n} `.padEnd(63, "x"));
  const digest = (text: string) => createHash("sha256").update(text).digest("hex");

  test("64 KiB of lines, for a program that reads them later", async () => {
    using folder = tempFolder();
    const sign = join(folder.path, "sign");
    const script =
      'stty -echo; echo ready; while [ ! -e "$1" ]; do sleep 0.02; done; head -n 1024 | sha256sum';
    const server = await serveProgram(sh(script, sign));
    const screen = joined(server.address);
    await screen.see("ready");
    screen.type(LINES.map((line) => `${line}\r`).join(""));
    await until("keys of the paste at the server", true, () => receivedBy(server) > 0);
    writeFileSync(sign, "");
    await screen.see(digest(LINES.map((line) => `${line}\n`).join("")));
    expect(await screen.exited).toBe(0);
  });

  test("300 KB for a program in raw mode", async () => {
    const text = LINES.join("\r\u0003").repeat(5).slice(0, 300_000);
    const server = await serveProgram(sh("stty raw -echo; echo ready; head -c 300000 | sha256sum"));
    const screen = joined(server.address);
    await screen.see("ready");
    screen.type(text);
    await screen.see(digest(text));
    expect(await screen.exited).toBe(0);
  });

  /** Bytes that the server has read, by the kernel's count. */
  function receivedBy({ pid }: Serving): number {
    const { stdout } = Bun.spawnSync(["cat", `/proc/${pid}/io`]);
    return Number(/rchar: (\d+)/.exec(stdout.toString())?.[1] ?? 0);
  }
});

describe("behind more keys than can wait, for a program that does not read,", () => {
  const MUCH = "x".repeat(4 * 1024 * 1024);
  const NOTICE = "1 MiB of keys wait: what you type now is dropped; Enter ~ . leaves";

  test("~. leaves", async () => {
    const server = await serveProgram(sh("stty raw -echo; echo ready; while :; do sleep 0.02; done"));
    const screen = joined(server.address);
    await screen.see("ready");
    screen.type(MUCH);
    screen.type(LEAVE);
    expect(await screen.exited).toBe(6);
    expect(screen.text.text).toContain(NOTICE);
    expect(screen.text.text).toMatch(/\d{7} typed bytes were never sent/);
  });

  test("keys go on once it reads", async () => {
    using folder = tempFolder();
    const sign = join(folder.path, "sign");
    const script = 'stty raw -echo; echo ready; while [ ! -e "$1" ]; do sleep 0.02; done; tr -d x';
    const server = await serveProgram(sh(script, sign));
    const screen = joined(server.address);
    await screen.see("ready");
    screen.type(MUCH);
    await screen.see(NOTICE);
    writeFileSync(sign, "");
    await until("a key on the screen", true, () => {
      screen.type("k".repeat(8192));
      return screen.text.text.includes("kkk");
    });
    screen.type(LEAVE);
    expect(await screen.exited).toBe(6);
    expect(screen.text.text).toMatch(/\d+ typed bytes were never sent/);
  });
});

/** Without what parley writes about losses that took longer. */
function withoutNotices(text: string): string {
  return text
    .replaceAll(/\r\n[^\r\n]*: reconnecting;[^\r\n]*\r\n/g, "")
    .replaceAll(/\r\nreconnected after[^\r\n]*\r\n/g, "");
}

describe("a connection that breaks", () => {
  test("ten times in the middle loses no key and no output, and shows none twice", async () => {
    const server = await serveProgram(sh("stty raw -echo; printf '[ready]'; cat"));
    using proxy = await cuttingProxy({ port: server.port, cuts: 10, least: 300, most: 1500, first: 1500 });
    const screen = joined(proxy.address);
    await screen.see("[ready]");
    let typed = "";
    for (let n = 0; proxy.done < 10 || n < 50; n++) {
      const keys = `<${n}>`.padEnd(100, ".");
      typed += keys;
      screen.type(keys);
      await screen.see(`<${n}>`);
    }
    screen.type("[end]");
    await screen.see("[end]");
    const shown = withoutNotices(screen.text.text);
    expect(shown.slice(shown.indexOf("[ready]"))).toBe(`[ready]${typed}[end]`);
    expect(proxy.done).toBe(10);
    screen.type(LEAVE);
    expect(await screen.exited).toBe(0);
  });

  test("makes a full-screen program draw again: a row less, and back", async () => {
    const server = await serveProgram(FULL_SCREEN);
    using proxy = await cuttingProxy({ port: server.port });
    const screen = joined(proxy.address);
    await screen.see("drawn");
    proxy.cutAll("reset");
    await screen.see("drawn at 23 80");
    await screen.see("drawn at 24 80");
  });

  test.skipIf(lacks("vi"))("makes vi draw again", async () => {
    using folder = tempFolder();
    const file = join(folder.path, "poem");
    writeFileSync(file, "the first line\nthe last line\n");
    const server = await serveProgram(["vi", file]);
    using proxy = await cuttingProxy({ port: server.port });
    const screen = joined(proxy.address, { env: { TERM: "xterm" } });
    await screen.see("the last line");
    proxy.cutAll("reset");
    await screen.see("the last line");
    screen.type(":q!\r");
    expect(await screen.exited).toBe(0);
  });

  describe("for longer", () => {
    let nowhere: Awaited<ReturnType<typeof deadPort>>;
    beforeAll(async () => {
      nowhere = await deadPort();
    });
    afterAll(() => nowhere[Symbol.dispose]());

    test("is shown; keys wait, and are sent when it is back", async () => {
      const server = await serveProgram(SHELL);
      using proxy = await cuttingProxy({ port: server.port });
      const screen = joined(proxy.address);
      screen.type("echo up$((1+1))\r");
      await screen.see("up2");
      proxy.options.port = nowhere.port;
      proxy.cutAll("reset");
      await screen.see("reconnecting; what you type waits for that; Enter ~ . leaves");
      screen.type("echo kept$((1+1))\r");
      proxy.options.port = server.port;
      await screen.see("reconnected after");
      await screen.see("kept2");
    });

    test("leaves with ~. and says how many keys were never sent, and not which", async () => {
      const server = await serveProgram(sh("stty -echo; echo ready; cat > /dev/null"));
      using proxy = await cuttingProxy({ port: server.port });
      const screen = joined(proxy.address);
      await screen.see("ready");
      proxy.options.port = nowhere.port;
      proxy.cutAll("reset");
      await screen.see("reconnecting");
      screen.type("secret");
      screen.type(LEAVE);
      expect(await screen.exited).toBe(6);
      expect(screen.text.text).toContain("7 typed bytes were never sent");
      expect(screen.raw).not.toContain("secret");
    });
  });

  test("for good, since the server has the session no more: the keys go to no other program", async () => {
    const server = await serveProgram(SHELL);
    const other = await serveProgram(SHELL);
    using proxy = await cuttingProxy({ port: server.port });
    const screen = joined(proxy.address);
    screen.type("echo up$((1+1))\r");
    await screen.see("up2");
    proxy.options.port = other.port;
    proxy.cutAll("reset");
    expect(await screen.exited).toBe(6);
    expect(screen.text.text).toContain("cannot resume the session");
  });
});

describe("the permission to draw", () => {
  let folder: TempFolder;
  let server: Serving;
  beforeAll(async () => {
    folder = tempFolder();
    server = await serve([
      "--auth",
      "none",
      "--pty",
      "--",
      "sh",
      "-c",
      "printf '\\033[31mdrawn\\033[0m'; cat",
    ]);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  const connect = (data: string, ...flags: string[]): Screen => {
    const screen = new Screen(["connect", ...flags, server.address], { data: join(folder.path, data) });
    cleaning.push(screen);
    return screen;
  };

  test("is asked for once for each server, until it is forgotten", async () => {
    const first = connect("asked");
    await first.see("do you trust this server that far?");
    expect(first.raw).not.toContain("drawn");
    first.enter("y");
    await first.see("drawn");
    expect(first.raw).toContain("\u001b[31mdrawn");
    first.type(LEAVE);
    expect(await first.exited).toBe(0);
    const second = connect("asked");
    await second.see("drawn");
    second.type(LEAVE);
    expect(await second.exited).toBe(0);
    expect(second.text.text).not.toContain("trust");
    const forgotten = await run(["connect", "--forget", server.address], {
      data: join(folder.path, "asked"),
    });
    expect([forgotten.exitCode, forgotten.stderr]).toEqual([
      0,
      `forgot that ${server.address} may draw on the terminal\n`,
    ]);
    const third = connect("asked");
    await third.see("do you trust this server that far?");
  });

  test("is not given by Enter; then no program is started", async () => {
    const screen = connect("refused");
    await screen.see("do you trust this server that far?");
    screen.enter("");
    expect(await screen.exited).toBe(1);
    expect(screen.text.text).toContain("may not draw on this terminal");
    expect(screen.raw).not.toContain("drawn");
  });

  test("cannot be asked for with --no-input, which names --pty", async () => {
    const screen = connect("mute", "--no-input");
    expect(await screen.exited).toBe(1);
    expect(screen.text.text).toContain("was not allowed to");
    expect(screen.text.text).toContain("allow it with --pty");
    expect(screen.raw).not.toContain("drawn");
    const allowed = connect("mute", "--no-input", "--pty");
    await allowed.see("drawn");
  });

  test("is not needed in a pipe, where the program's output is lines as ever", async () => {
    const { exitCode, stdout } = await run(["connect", server.address], { stdin: "one\n" });
    expect([exitCode, stdout]).toEqual([
      0,
      "\u001b[31mdrawn\u001b[0mone\r\none\r\n".replaceAll("\r\n", "\n"),
    ]);
  });

  test("--pty without a terminal is refused", async () => {
    const { exitCode, stderr } = await run(["connect", "--pty", server.address], { stdin: "one\n" });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("--pty requires a terminal");
  });

  test("--pty is refused at a server whose service has no terminal", async () => {
    await using echo = await serve(["--auth", "none"]);
    await using screen = new Screen(["connect", "--pty", echo.address]);
    expect(await screen.exited).toBe(2);
    expect(screen.text.text).toContain("has no terminal");
  });
});
