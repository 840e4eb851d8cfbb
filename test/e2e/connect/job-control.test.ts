// A job of a shell: stopped with Ctrl-Z or from outside while it edits a line or asks, and put to the foreground again.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../../support/attack.ts";
import { addUser, PASSWORD, portForLater, serve, start, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Screen } from "../../support/screen.ts";

/** `stty sane` as an interactive shell does it, which makes the terminal its own again. */
const SHELL = 'set -m; "$0" "$@"; stty sane; echo stopped; read _; fg; echo "left with $?"';
const UP = "\u001b[A";
const LEFT = "\u001b[D";

const folder = tempFolder();
let server: Serving;
beforeAll(async () => {
  await addUser(folder.path);
  server = await serve([], { data: folder.path });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** The ways to be stopped. */
const STOPS: [string, (screen: Screen) => void][] = [
  ["Ctrl-Z", (screen) => screen.type("\u001a")],
  ["SIGSTOP", (screen) => process.kill(childOf(screen.pid), "SIGSTOP")],
];

function childOf(parent: number): number {
  const children = readdirSync("/proc").filter((entry) => {
    try {
      return (
        /^\d+$/.test(entry) &&
        readFileSync(`/proc/${entry}/stat`, "utf8").split(") ")[1]?.split(" ")[1] === String(parent)
      );
    } catch {
      return false; // it has ended meanwhile
    }
  });
  if (children.length !== 1) throw new Error(`${parent} has ${children.length} children`);
  return Number(children[0]);
}

async function stopAndGoOn(screen: Screen, stop: (screen: Screen) => void): Promise<void> {
  stop(screen);
  await screen.see("stopped");
  screen.enter("");
}

describe.each(STOPS)("%s, and fg:", (_, stop) => {
  test("the line is there again, and keys are keys", async () => {
    await using screen = new Screen(["connect", `ann@${server.address}`], {
      script: SHELL,
      env: { PARLEY_PASSWORD: PASSWORD },
    });
    await screen.see("> ");
    screen.type("hello");
    await screen.see("hello");
    await stopAndGoOn(screen, stop);
    await screen.see("> hello");
    screen.type(`${LEFT}${LEFT}p`);
    await screen.see("p");
    screen.enter("");
    await screen.see("> helplo\r\n");
    screen.type(UP);
    await screen.see("> helplo");
    expect(screen.text.text).not.toContain("^[");
    screen.type("\u0003\u0003");
    await screen.see("left with 130");
  });

  test("a question is asked again, with what was typed", async () => {
    using own = tempFolder();
    const port = portForLater();
    await using screen = new Screen(["serve", "--auth", "none", "--data", own.path], { script: SHELL });
    await screen.see(/port:.*13131/);
    screen.type(String(port).slice(0, 3));
    await screen.see(String(port).slice(0, 3));
    await stopAndGoOn(screen, stop);
    await screen.see(`port: ${String(port).slice(0, 3)}`);
    screen.enter(String(port).slice(3));
    await screen.see(`127.0.0.1:${port}`);
    screen.type("\u0003");
    await screen.see("left with 0");
  });

  test("a password stays hidden", async () => {
    await using screen = new Screen(["connect", `ann@${server.address}`], { script: SHELL });
    await screen.see("password for ann:");
    screen.type(PASSWORD.slice(0, 4));
    await screen.see("****");
    await stopAndGoOn(screen, stop);
    await screen.see("password for ann: ****");
    screen.enter(PASSWORD.slice(4));
    await screen.see("welcome");
    expect(screen.text.text).not.toContain(PASSWORD.slice(4));
    screen.type("\u0004");
    await screen.see("left with 0");
  });

  test("a yes or no is asked again", async () => {
    using own = tempFolder();
    await using screen = new Screen(["serve", "--port", "0", "--data", own.path], { script: SHELL });
    await screen.see("create the first user?");
    await stopAndGoOn(screen, stop);
    await screen.see("create the first user?");
    screen.enter("n");
    await screen.see("listening");
    screen.type("\u0003");
    await screen.see("left with 0");
  });

  test("what is typed while the password is checked stays hidden", async () => {
    using own = tempFolder();
    await addUser(own.path);
    // One that is stopped answers nothing.
    await using slow = await serve([], { data: own.path });
    await using screen = new Screen(["connect", `ann@${slow.address}`], { script: SHELL });
    await screen.see("password for ann:");
    slow.signal("SIGSTOP");
    screen.enter(PASSWORD);
    await screen.see("*".repeat(PASSWORD.length));
    await stopAndGoOn(screen, stop);
    const child = childOf(screen.pid);
    await until("raw mode", true, () => isRaw(child));
    screen.type("typed too early");
    slow.signal("SIGCONT");
    await screen.see("welcome");
    expect(screen.text.text).not.toContain("typed too early");
    screen.type("\u0004");
    await screen.see("left with 0");
  });
});

/** Has the terminal of `pid` echo switched off? */
function isRaw(pid: number): boolean {
  const { stdout } = Bun.spawnSync(["stty", "-a", "-F", join("/proc", String(pid), "fd", "0")]);
  return stdout.toString().includes("-echo ");
}

describe("a conversation at a terminal that is left from outside:", () => {
  let chat: Serving;
  beforeAll(async () => {
    chat = await serve(["--service", "chat", "--auth", "none"]);
  });
  afterAll(() => chat[Symbol.asyncDispose]());

  test.each([
    ["SIGHUP", 129],
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s says goodbye, and ends with %d", async (signal, status) => {
    await using other = start(["connect", chat.address]);
    await other.stdout.see("here:");
    await using screen = new Screen(["connect", chat.address, "--retry", "forever"]);
    await screen.see("here:");
    screen.enter("hello");
    await other.stdout.see("hello");
    process.kill(screen.pid, signal);
    expect(await screen.exited).toBe(status);
    await other.stdout.see("left");
  });

  test("its window is closed", async () => {
    await using other = start(["connect", chat.address]);
    await other.stdout.see("here:");
    await using screen = new Screen(["connect", chat.address, "--retry", "forever"]);
    await screen.see("here:");
    screen.close();
    await other.stdout.see("left");
    expect(await screen.exited).toBe(129);
  });

  test("its window is closed, and SIGHUP is ignored", async () => {
    await using other = start(["connect", chat.address]);
    await other.stdout.see("here:");
    const script = 'trap \'\' HUP; exec "$0" "$@"';
    await using screen = new Screen(["connect", chat.address, "--retry", "forever"], { script });
    await screen.see("here:");
    screen.close();
    await other.stdout.see("left");
    expect(await screen.exited).toBe(129);
  });
});

test("in a pipe: a signal ends it with a goodbye, and SIGHUP that nohup(1) ignores does not", async () => {
  await using chat = await serve(["--service", "chat", "--auth", "none"]);
  await using other = start(["connect", chat.address]);
  await other.stdout.see("here:");
  await using talker = start(["connect", chat.address, "--retry", "forever"], { prefix: ["nohup"] });
  await talker.stdout.see("here:");
  talker.signal("SIGHUP");
  talker.write("still here\n");
  await other.stdout.see("still here");
  talker.signal("SIGINT");
  expect(await talker.exited).toBe(130);
  await other.stdout.see("left");
});

test("Ctrl-Z stops the whole job, also what has started parley and waits for it", async () => {
  const waiting = `/bin/sh -c '"$0" "$@"; exit $?' "$0" "$@"`;
  const script = SHELL.replace('"$0" "$@"', `${waiting}`);
  await using screen = new Screen(["connect", `ann@${server.address}`], {
    script,
    env: { PARLEY_PASSWORD: PASSWORD },
  });
  await screen.see("> ");
  screen.type("hello");
  await screen.see("hello");
  screen.type("\u001a");
  await screen.see("stopped");
  screen.enter("");
  await screen.see("> hello");
  screen.type("\u0003\u0003");
  await screen.see("left with 130");
});
