// parley serve at a terminal: what it asks, and what it says there.

import { expect, setDefaultTimeout, test } from "bun:test";
import { CHEAP, PASSWORD, run } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";

test("asks for the port, offers 13131, refuses what is none", async () => {
  using busy = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = busy;
  await using screen = new Screen(["serve", "--auth", "none"]);
  await screen.see(/port:.*13131/);
  screen.enter("many");
  await screen.see("enter a number from 1 to 65535");
  screen.type("\u0015");
  screen.enter(String(port));
  await screen.see("listening on 127.0.0.1:");
  await screen.see(`port ${port} is busy`);
  screen.type(CTRL_C);
  expect(await screen.exited).toBe(0);
});

test("says its posture, its log and how to talk to it", async () => {
  await using screen = new Screen(["serve", "--auth", "none", "--port", "0"]);
  await screen.see(/listening on (127\.0\.0\.1:\d+)/);
  await screen.see("not encrypted");
  await screen.see("parley.log");
  await screen.see(/connect 127\.0\.0\.1:\d+/);
  screen.type(CTRL_C);
  expect(await screen.exited).toBe(0);
});

test("says that clients can create accounts, where they can", async () => {
  const shown = async (flags: string[]) => {
    await using screen = new Screen(["serve", "--no-input", "--port", "0", ...flags]);
    await screen.see("connect with: ");
    screen.type(CTRL_C);
    expect(await screen.exited).toBe(0);
    return screen.text.text.split("\r\n").find((line) => line.includes("this machine only"));
  };
  expect(await shown(["--register"])).toBe(
    "password login · clients can create accounts · this machine only · not encrypted",
  );
  expect(await shown([])).toBe("password login · this machine only · not encrypted");
});

test("breaks no line that is to be copied", async () => {
  await using screen = new Screen(["serve", "--auth", "none", "--port", "0"], { cols: 20 });
  await screen.see(/connect with: \S+ connect 127\.0\.0\.1:\d+\r\n/);
  screen.type(CTRL_C);
  expect(await screen.exited).toBe(0);
});

test("offers to create the first user, asking twice for a password it does not show", async () => {
  using folder = tempFolder();
  await using screen = new Screen(["serve", "--port", "0", ...CHEAP], { data: folder.path });
  await screen.see("create the first user?");
  screen.enter("y");
  await screen.see("user:");
  screen.enter("ann");
  await screen.see("password:");
  screen.enter("short");
  await screen.see("needs at least 8");
  screen.type("too early");
  await screen.see("password:");
  screen.type("\u0015"); // it may have come with the new question
  screen.enter(PASSWORD);
  await screen.see("again:");
  screen.enter("another one");
  await screen.see("the passwords do not match");
  for (const question of ["password:", "again:"]) {
    await screen.see(question);
    screen.enter(PASSWORD);
  }
  await screen.see("listening on");
  expect((await run(["users", "list", "--json"], { data: folder.path })).stdout).toContain('"ann"');
  screen.type(CTRL_C);
  expect(await screen.exited).toBe(0);
  expect(screen.raw).not.toContain(PASSWORD);
  expect(screen.raw).not.toContain("short\r");
  expect(screen.raw).not.toContain("too early");
});

test.each([CTRL_C, CTRL_D])("is left at a question with %j: 130", async (key) => {
  await using screen = new Screen(["serve", "--auth", "none"]);
  await screen.see("port:");
  screen.type(key);
  expect(await screen.exited).toBe(130);
});

const unasked: [code: number, ...argv: string[]][] = [
  [2, "--service", "magic"],
  [2, "--watch"],
  [1, "--log", "/nowhere/parley.log"],
  [0, "--check", "--port", "0"],
];
test.each(unasked)("asks nothing and ends with %d: %p %p %p", async (code, ...argv) => {
  await using screen = new Screen(["serve", ...argv.filter((word) => word !== undefined)]);
  expect(await screen.exited).toBe(code);
  expect(screen.text.text).not.toMatch(/port:|first one/);
});

test("--no-input asks nothing", async () => {
  await using screen = new Screen(["serve", "--no-input", "--port", "0"]);
  await screen.see("listening on");
  expect(screen.text.text).not.toContain("?");
});
