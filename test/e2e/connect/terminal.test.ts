// parley connect at a terminal: what it asks, and that nothing a peer says acts on the screen.

import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { addUser, PASSWORD, run, serve, type Serving } from "../../support/executable.ts";
import { fakeServer, HELLO, letIn } from "../../support/fake-server.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { frame } from "../../support/peer.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const CTRL_D = "\u0004";

describe("a client at a terminal", () => {
  let folder: TempFolder;
  let server: Serving;
  let data: string;
  beforeEach(async () => {
    folder = tempFolder();
    data = join(folder.path, "client");
    await addUser(join(folder.path, "server"));
    server = await serve([], { data: join(folder.path, "server") });
  });
  afterEach(async () => {
    await server.stop();
    await server[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  test("asks for host, port, user and a masked password, and offers the last ones next time", async () => {
    await using screen = new Screen(["connect"], { data });
    await screen.see(/host:.*127\.0\.0\.1/);
    screen.enter("");
    await screen.see(/port:.*13131/);
    screen.enter(String(server.port));
    await screen.see("user:");
    screen.enter("ann");
    await screen.see("password for ann:");
    screen.enter(PASSWORD);
    await screen.see("*".repeat(PASSWORD.length));
    await screen.see("welcome");
    await screen.see("ann> ");
    screen.type(CTRL_D);
    expect(await screen.exited).toBe(0);
    expect(screen.raw).not.toContain(PASSWORD);
    await using again = new Screen(["connect"], { data });
    await again.see(/host:.*127\.0\.0\.1/);
    again.enter("");
    await again.see(new RegExp(`port:.*${server.port}`));
    again.enter("");
    await again.see("ann> "); // by its token, without a question
    again.type(CTRL_D);
    expect(await again.exited).toBe(0);
  });

  test.each([
    ["", "user:"],
    ["ann@", "password for ann:"],
  ])(
    "says at its prompt how to create an account, where the server allows it: %j",
    async (user, question) => {
      await using open = await serve(["--register"]);
      await using screen = new Screen(["connect", `${user}${open.address}`, "--data", "my data"]);
      await screen.see("no account yet? create one with: ");
      await screen.see(`parley connect ${open.address} --register --data 'my data'\r\n`);
      await screen.see(question);
      await using closed = new Screen(["connect", `${user}${server.address}`], { data });
      await closed.see(question);
      expect(closed.text.text).not.toContain("account");
      await open.stop();
    },
  );

  test("three wrong passwords end it with 3", async () => {
    await using screen = new Screen(["connect", `ann@${server.address}`], { data });
    for (const left of ["2 tries left", "1 try left", "parley: error:"]) {
      await screen.see("password for ann:");
      screen.enter("wrong horse");
      await screen.see(left);
    }
    expect(await screen.exited).toBe(3);
    expect(screen.raw).not.toContain("wrong horse");
  });

  test("a second try with the right password gets in", async () => {
    await using screen = new Screen(["connect", `ann@${server.address}`], { data });
    await screen.see("password for ann:");
    screen.enter("wrong horse");
    await screen.see("2 tries left");
    await screen.see("password for ann:");
    screen.enter(PASSWORD);
    await screen.see("ann> ");
  });

  test("what is typed while a password is being checked is not shown", async () => {
    let refuse: () => void = () => undefined;
    using slow = await fakeServer((socket) => {
      socket.write(frame(JSON.stringify({ ...HELLO, auth: ["password"] })));
      const refused = { type: "refused", code: "bad_credentials", message: "no", attempts_left: 2 };
      refuse = () => void socket.write(frame(JSON.stringify(refused)));
    });
    await using screen = new Screen(["connect", `ann@${slow.address}`], { data });
    await screen.see("password for ann:");
    screen.enter("wrong horse");
    await slow.received.see('"login"');
    screen.type("typed ahead");
    await run(["--version"]); // by then the terminal has it
    refuse();
    await screen.see("2 tries left");
    await screen.see("password for ann:");
    expect(screen.raw).not.toContain("typed ahead");
  });

  test("--no-input asks nothing and ends with 2", async () => {
    await using screen = new Screen(["connect", `ann@${server.address}`, "--no-input"], { data });
    expect(await screen.exited).toBe(2);
    await screen.see("parley: error:");
  });
});

describe("what a peer says never acts on the terminal:", () => {
  const HOSTILE: [what: string, text: string][] = [
    ["OSC 52 (clipboard)", "\u001b]52;c;ZXZpbA==\u0007"],
    ["CSI 2J (clear)", "\u001b[2J"],
    ["CR", "good\rbad"],
    ["BEL", "\u0007"],
    ["C1 CSI", "\u009b2J"],
    ["bidi override", "\u202etxt.exe"],
    ["backspace and DEL", "\b\b\u007f"],
    ["DCS", "\u001bP1;2|evil\u001b\\"],
  ];
  test.each(HOSTILE)("%s in an answer", async (_, text) => {
    using fake = await fakeServer(async (socket, received) => {
      await letIn(socket, received);
      socket.write(
        Buffer.concat([frame(`<<${text}>>`), frame(Buffer.from(`<<${text}>>`, "latin1")), frame("the last")]),
      );
    });
    await using screen = new Screen(["connect", fake.address]);
    await screen.see("the last");
    const shown = Buffer.from(screen.raw, "latin1").toString();
    const [answer] = /<<[^]*?>>/.exec(shown) ?? [""];
    expect(answer).toMatch(/^<<.+>>$/);
    // oxlint-disable-next-line no-control-regex
    expect(answer).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(shown).not.toContain("\u009b");
    expect(shown).not.toContain("\u001b]52");
    expect(shown).not.toContain("\u001bP");
    expect(shown).not.toContain("\u202e");
  });

  test("and what is joined as it is written stays so", async () => {
    await using server = await serve(["--auth", "none"]);
    const written = "می\u200cخواهم 👨\u200d👩\u200d👧 क्\u200dष";
    const argv = ["connect", server.address, "--send", written, "--send", "an\u200dn", "--count", "2"];
    await using screen = new Screen(argv);
    expect(await screen.exited).toBe(0);
    const shown = Buffer.from(screen.raw, "latin1").toString();
    expect(shown).toBe(`${written}\r\nan\\u{200d}n\r\n`);
    await server.stop();
  });

  test.each(["service", "user", "error"])("in the %s of its greeting", async (where) => {
    const evil = "x\u001b]52;c;ZXZpbA==\u0007\u009b2J\u202e\ry";
    using fake = await fakeServer(async (socket, received) => {
      if (where === "error") {
        return void socket.end(frame(JSON.stringify({ type: "error", code: "busy", message: evil })));
      }
      const service = where === "service" ? evil : "echo";
      socket.write(frame(JSON.stringify({ ...HELLO, service })));
      await received.see('"login"');
      const user = where === "user" ? evil : "ann";
      socket.write(frame(JSON.stringify({ type: "welcome", user, known: true, control: true })));
      socket.write(frame("the last"));
    });
    await using screen = new Screen(["connect", fake.address, "--trace"]);
    await screen.see(where === "error" ? "parley: error:" : "the last");
    const shown = Buffer.from(screen.raw, "latin1").toString();
    for (const sequence of ["\u001b]52", "\u0007", "\u009b", "\u202e"]) expect(shown).not.toContain(sequence);
    // A carriage return is the terminal's own, before a newline, or the line editor's, at its prompt.
    expect(shown).not.toContain("\ry");
  });
});
