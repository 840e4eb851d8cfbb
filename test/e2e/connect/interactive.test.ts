// The line editor of parley connect: what arrives does not tear the half-typed line, and how to leave.

import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Socket } from "node:net";
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { cuttingProxy } from "../../support/cutting-proxy.ts";
import { serve, type Serving } from "../../support/executable.ts";
import { fakeServer, letIn } from "../../support/fake-server.ts";
import { until } from "../../support/attack.ts";
import { tempFolder } from "../../support/folder.ts";
import { frame } from "../../support/peer.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const UP = "\u001b[A";

let server: Serving;
beforeAll(async () => {
  server = await serve(["--auth", "none"]);
});
afterAll(async () => {
  await server.stop();
  await server[Symbol.asyncDispose]();
});

/** A line as typed and ended, perhaps a prompt that was there for a moment, its answer, the prompt. */
function answered(line: string, answer = line): RegExp {
  return new RegExp(`${RegExp.escape(line)}\\r+\\n(> )?${RegExp.escape(answer)}\\r\\n> `);
}

/** How many rows up the cursor was sent. */
function rowsUp(raw: string): number {
  const rows = raw.split("\u001b[").flatMap((move) => /^(\d*)A/.exec(move)?.[1] ?? []);
  return rows.reduce((sum, count) => sum + Number(count || 1), 0);
}

test("a line is a message, and its answer is printed", async () => {
  await using screen = new Screen(["connect", server.address]);
  await screen.see("> ");
  screen.enter("first");
  await screen.see(answered("first"));
  screen.enter("привет");
  await screen.see(answered("привет"));
});

test("a message that arrives while a line is half typed leaves that line whole, and is printed above it", async () => {
  let say: (text: string) => void = () => undefined;
  using fake = await fakeServer(async (socket, received) => {
    await letIn(socket, received);
    say = (text) => void socket.write(frame(text));
    say("ready");
  });
  await using screen = new Screen(["connect", fake.address]);
  await screen.see("ready\r\n> ");
  screen.type("half of a li");
  await screen.see("half of a li");
  say("interruption");
  // The message, then prompt and line anew.
  await screen.see("interruption\r\n> half of a li");
  screen.enter("ne");
  await fake.received.see("half of a line");
});

test("a half-typed line longer than the screen is wide erases nothing", async () => {
  let say: (text: string) => void = () => undefined;
  using fake = await fakeServer(async (socket, received) => {
    await letIn(socket, received);
    say = (text) => void socket.write(frame(text));
    say("ready");
  });
  await using screen = new Screen(["connect", fake.address], { cols: 40 });
  await screen.see("ready\r\n> ");
  const long = `${"0123456789".repeat(8)}abcdefghij`;
  screen.type(long);
  await screen.see("abcdefghij");
  for (const text of ["interruption one", "interruption two"]) {
    const before = screen.raw.length;
    say(text);
    await screen.see(`${text}\r\n> 0123456789`);
    // Up by the rows that the line takes, no further; and not up again once the message is printed.
    const at = screen.raw.indexOf(text, before);
    expect(rowsUp(screen.raw.slice(before, at))).toBe(2);
    expect(rowsUp(screen.raw.slice(at, screen.raw.indexOf("> 0123456789", at)))).toBe(0);
  }
  screen.enter("!");
  await fake.received.see(`${long}!`);
});

test("Ctrl-C drops the line; on an empty one it leaves with 130", async () => {
  await using screen = new Screen(["connect", server.address]);
  await screen.see("> ");
  screen.type("never sent");
  await screen.see("never sent");
  screen.type(CTRL_C);
  await screen.see("^C");
  await screen.see("> ");
  screen.enter("sent");
  await screen.see(answered("sent"));
  screen.type(CTRL_C);
  expect(await screen.exited).toBe(130);
  expect(screen.text.text).not.toMatch(/never sent\r+\n(> )?never sent/);
});

test.each([
  ["Ctrl-D", CTRL_D],
  ["/quit", "/quit\r"],
])("%s leaves with 0, and the prompt that nobody answers is wiped away", async (_, keys) => {
  await using screen = new Screen(["connect", server.address]);
  await screen.see("> ");
  screen.type(keys);
  expect(await screen.exited).toBe(0);
  const lastLine = screen.raw.slice(screen.raw.lastIndexOf("\n") + 1);
  expect(lastLine === "" || lastLine.endsWith("\u001b[1G\u001b[0J")).toBe(true);
});

test.concurrent.each([
  ["Ctrl-D", CTRL_D],
  ["/quit", "/quit\r"],
  ["Ctrl-C", undefined],
])("of a person who leaves with %s before the answer it is said what is not confirmed", async (_, keys) => {
  using folder = tempFolder();
  const handler = join(folder.path, "hang.ts");
  writeFileSync(handler, "export default () => new Promise(() => {});");
  await using hanging = await serve(["--auth", "none", "--handler", handler]);
  await using screen = new Screen(["connect", hanging.address]);
  await screen.see("> ");
  screen.enter("unanswered");
  await screen.see("unanswered");
  if (keys !== undefined) {
    screen.type(keys);
    await screen.see("waiting for the last answers: press Ctrl-C to quit without them");
  }
  screen.type(CTRL_C);
  await screen.see("not confirmed: unanswered");
  expect(await screen.exited).toBe(130);
});

test("/help helps, every other line is sent as it is, //x sends /x", async () => {
  await using screen = new Screen(["connect", server.address]);
  await screen.see("> ");
  screen.enter("/help");
  await screen.see("/quit, Ctrl-D   quit");
  for (const line of ["/hepl", "/join 3", "/help me", " /help", "/quit now", "/", "/usr/bin"]) {
    screen.enter(line);
    await screen.see(answered(line));
  }
  screen.enter("//x");
  await screen.see(answered("//x", "/x"));
  screen.enter("//help");
  await screen.see(answered("//help", "/help"));
});

test("in a chat //x says /x, also when /x is a command", async () => {
  await using chat = await serve(["--auth", "none", "--service", "chat"]);
  await using screen = new Screen(["connect", chat.address]);
  await screen.see(/here: .*\r\n> /);
  screen.enter("//who");
  await screen.see("guest-1: /who\r\n");
});

test.each([
  [40, 40],
  [200, 80],
])("on a terminal of %d columns, /help has lines of at most %d, and whole words", async (cols, longest) => {
  await using chat = await serve(["--auth", "none", "--service", "chat"]);
  await using screen = new Screen(["connect", chat.address], { cols });
  await screen.see(/here: .*\r\n> /);
  const start = screen.text.text.length;
  screen.enter("/help");
  await screen.see(/guests\s+only\)\r\n> /);
  const help = screen.text.text.slice(start).replaceAll(/^> /gm, "");
  expect(Math.max(...help.split(/[\r\n]+/).map((line) => line.length))).toBeLessThanOrEqual(longest);
  expect(help.replaceAll(/\s+/g, " ")).toContain("Enter sends the line; //x sends /x. /help show this help");
});

test("a notice that is longer than its row is broken between words", async () => {
  await using small = await serve(["--auth", "none", "--max-frame", "4096"]);
  await using screen = new Screen(["connect", small.address], { cols: 40 });
  await screen.see("> ");
  screen.enter("x".repeat(5000));
  await screen.see("not sent: 5000 bytes exceed the server's\r\nlimit of 4096\r\n");
});

test("earlier lines come back, in the next run too, and are kept in a file of mode 0600", async () => {
  using folder = tempFolder();
  const data = join(folder.path, "data");
  {
    await using screen = new Screen(["connect", server.address], { data });
    await screen.see("> ");
    for (const line of ["older line", "newer line"]) {
      screen.enter(line);
      await screen.see(answered(line));
    }
    screen.type(UP);
    await screen.see("newer line");
    screen.type(CTRL_C);
    await screen.see("> ");
    screen.type(CTRL_D);
    expect(await screen.exited).toBe(0);
  }
  await using screen = new Screen(["connect", server.address], { data });
  await screen.see("> ");
  screen.type(UP);
  await screen.see("newer line");
  screen.type(UP);
  await screen.see("older line");
  screen.enter("!");
  await screen.see(answered("!", "older line!"));
  const history = () => readFileSync(join(data, "history"), "utf8");
  await until("the history", "older line\nnewer line\nolder line!\n", history);
  expect(statSync(join(data, "history")).mode & 0o777).toBe(0o600);
});

test("a server that stops ends it with 5 and the reason, on a line of its own", async () => {
  await using other = await serve(["--auth", "none"]);
  await using screen = new Screen(["connect", other.address, "--retry", "0"]);
  await screen.see("> ");
  screen.type("half");
  await screen.see("half");
  await other.stop();
  await screen.see(/\nparley: error: .*shutting down/);
  expect(await screen.exited).toBe(5);
});

test("many answers at once come whole and in order", async () => {
  const answers = Array.from({ length: 500 }, (_, i) => `answer ${i}.`);
  using fake = await fakeServer(async (socket, received) => {
    await letIn(socket, received);
    socket.write(Buffer.concat(answers.map((answer) => frame(answer))));
  });
  await using screen = new Screen(["connect", fake.address]);
  for (const answer of answers) await screen.see(answer);
});

test("what is said to a chat that is away stays to be read, and goes into the new session", async () => {
  const chat = ["--auth", "none", "--service", "chat"];
  await using first = await serve(chat);
  await using second = await serve(chat);
  using proxy = await cuttingProxy({ port: first.port });
  await using screen = new Screen(["connect", proxy.address]);
  await screen.see(/here: .*\r\n> /);
  await first.stop();
  await screen.see("reconnecting");
  const before = screen.raw.length;
  screen.enter("said to nobody");
  await screen.see(/said to nobody\r*\n> /);
  proxy.options.port = second.port;
  await screen.see("in a new session");
  await screen.see(/: said to nobody\r\n> /);
  const told = screen.raw.slice(before, screen.raw.indexOf("reconnected", before));
  expect(told).toEndWith("\u001b[1G\u001b[0J\u001b[2m");
  expect(rowsUp(told)).toBe(0);
});

test("Ctrl-D while an answer is due: it is printed, and then the conversation is over", async () => {
  const answer = Promise.withResolvers<Socket>();
  using fake = await fakeServer((socket, received) => {
    void letIn(socket, received);
    void received.see('"end"').then(() => answer.resolve(socket));
  });
  await using screen = new Screen(["connect", fake.address]);
  await screen.see("> ");
  screen.enter("question");
  screen.type(CTRL_D);
  const bye = frame(JSON.stringify({ type: "bye", code: "done", message: "" }), true);
  (await answer.promise).write(Buffer.concat([frame("the answer at last"), bye]));
  await screen.see("the answer at last");
  expect(await screen.exited).toBe(0);
  expect(screen.raw).toContain("\u001b[1G\u001b[0Jthe answer at last"); // where the prompt was
});
