// parley serve --handler: reload by SIGHUP and --watch, --check, --init, and files that cannot be used.

import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { expect, setDefaultTimeout, test } from "bun:test";
import { escapeLine } from "../../../src/base/escape.ts";
import { HANDLER_TYPES } from "../../../src/services/handler/template.ts";
import { until, within } from "../../support/attack.ts";
import { run, serve, type Serving } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Peer } from "../../support/peer.ts";
import { Screen } from "../../support/screen.ts";

setDefaultTimeout(90_000);

const saying = (text: string) => `export default (s) => s.send(${JSON.stringify(text)});`;

/** A folder for a handler, `greet.ts` in most tests. */
class Workshop implements Disposable {
  readonly #folder = tempFolder();
  readonly path = this.#folder.path;
  readonly handler = this.at("greet.ts");

  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  write(name: string, text: string): string {
    writeFileSync(this.at(name), text);
    return this.at(name);
  }

  /** As editors save. */
  save(name: string, text: string): void {
    renameSync(this.write(`${name}.new`, text), this.at(name));
  }

  serve(...flags: string[]): Promise<Serving> {
    return serve(["--auth", "none", "--handler", this.handler, ...flags], { data: this.at("data") });
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

async function portOf(server: Screen): Promise<number> {
  const ready = /listening on 127\.0\.0\.1:(\d+)\s/;
  await server.see(ready);
  return Number(ready.exec(server.text.text)?.[1]);
}

/** Asks until the answer is `wanted`: a change takes its moment. */
async function hears(peer: Peer, wanted: string): Promise<void> {
  await until("the answer", wanted, () => {
    peer.send("");
    return within("an answer", peer.text());
  });
}

test.concurrent.each([
  ["SIGHUP", []],
  ["--watch", ["--watch"]],
])(
  "%s takes up a changed file, its imports, and one saved by rename; conversations stay",
  async (how, flags) => {
    using shop = new Workshop();
    shop.write("mark.ts", "export const mark = 'one';");
    shop.write("greet.ts", "import { mark } from './mark.ts'; export default (s) => s.send(mark);");
    await using server = await shop.serve(...flags);
    const apply = () => how === "SIGHUP" && server.signal("SIGHUP");
    using peer = await Peer.connect(server.port);
    await peer.enter();
    await hears(peer, "one");
    shop.write("mark.ts", "export const mark = 'two';");
    apply();
    await hears(peer, "two");
    shop.save("greet.ts", saying("three"));
    apply();
    await hears(peer, "three");
    shop.save("greet.ts", saying("four"));
    apply();
    await hears(peer, "four");
    await server.stop();
  },
);

test.concurrent.each([
  ["does not compile", "export default {"],
  ["throws while it loads", "throw new Error('not today');"],
  ["imports what is not there", "import './nowhere.ts';"],
  ["exports nothing", ""],
  ["throws in start", "export default { start() { throw new Error('not today'); }, message() {} };"],
  ["rejects in start", "export default { async start() { throw new Error('not today'); }, message() {} };"],
])("a change that %s is told, the old code goes on, and the next good one is taken up", async (_, text) => {
  using shop = new Workshop();
  shop.write("greet.ts", saying("old"));
  await using server = await shop.serve("--watch");
  using peer = await Peer.connect(server.port);
  await peer.enter();
  await hears(peer, "old");
  shop.save("greet.ts", text);
  await server.stderr.see("the previous version stays loaded");
  if (text.includes("not today")) await server.stderr.see("Error('not today')"); // the line of code
  await hears(peer, "old");
  shop.save("greet.ts", saying("new"));
  await hears(peer, "new");
  await server.stop();
  const log = readFileSync(shop.at("data", "parley.log"), "utf8");
  expect(log.match(/handler-\w+/g)).toEqual(["handler-failed", "handler-reloaded"]);
  if (text.includes("not today")) expect(log).toMatch(/handler-failed .*greet\.ts:1:.* code=.*not today/);
});

test.concurrent("a start that throws is shown with its code, and no call of parley's own", async () => {
  using shop = new Workshop();
  shop.write("greet.ts", "export default { message() {}, start() { throw new Error('not today'); } };");
  const argv = [
    "serve",
    "--check",
    "--auth",
    "none",
    "--handler",
    shop.at("greet.ts"),
    "--data",
    shop.at("data"),
  ];
  const { exitCode, stderr } = await run(argv);
  expect(exitCode).not.toBe(0);
  expect(stderr.match(/^ +at .*/gm)).toEqual([expect.stringMatching(/ at start \(\/.*greet\.ts:1:/)]);
});

test.concurrent(
  "--watch notices files of a folder that the new code is the first to import from",
  async () => {
    using shop = new Workshop();
    shop.write("greet.ts", saying("old"));
    await using server = await shop.serve("--watch");
    using peer = await Peer.connect(server.port);
    await peer.enter();
    mkdirSync(shop.at("lib"));
    shop.write("lib/mark.ts", "export const mark = 'one';");
    shop.save("greet.ts", "import { mark } from './lib/mark.ts'; export default (s) => s.send(mark);");
    await hears(peer, "one");
    shop.save("lib/mark.ts", "export const mark = 'two';");
    await hears(peer, "two");
    await server.stop();
  },
);

test.concurrent(
  "--watch goes on where the folder of an import is taken away and made anew, and minds nothing else",
  async () => {
    using shop = new Workshop();
    mkdirSync(shop.at("lib"));
    shop.write("lib/mark.ts", "export const mark = 'one';");
    shop.write("greet.ts", "import { mark } from './lib/mark.ts'; export default (s) => s.send(mark);");
    await using server = await shop.serve("--watch");
    using peer = await Peer.connect(server.port);
    await peer.enter();
    await hears(peer, "one");
    for (const mark of ["two", "three"]) {
      shop.write("scores.json", `{"ann":"${mark}"}`); // what the handler itself might write
      rmSync(shop.at("lib"), { recursive: true });
      mkdirSync(shop.at("lib"));
      shop.write("lib/mark.ts", `export const mark = '${mark}';`);
      await hears(peer, mark);
    }
    await server.stop();
  },
);

test.concurrent(
  "--watch minds no file that the handler only reads or writes, but each that it imports",
  async () => {
    using shop = new Workshop();
    shop.write("scores.json", "{}");
    shop.write("questions.json", '["one"]');
    shop.write(
      "greet.ts",
      `import { readFileSync, writeFileSync } from "node:fs";
     import questions from "./questions.json";
     const file = new URL("./scores.json", import.meta.url);
     export const state = { loads: 0 };
     state.loads++;
     export default (session) => {
       const scores = JSON.parse(readFileSync(file, "utf8"));
       writeFileSync(file, JSON.stringify({ ...scores, [Math.random()]: 1 }));
       session.send(questions[0] + " " + state.loads);
     };`,
    );
    await using server = await shop.serve("--watch");
    using peer = await Peer.connect(server.port);
    await peer.enter();
    await hears(peer, "one 1");
    shop.save("questions.json", '["two"]');
    await hears(peer, "two 1"); // scores.json changed all the time
    for (let n = 0; n < 5; n++) {
      await Bun.sleep(150); // longer than a watcher waits for a rest
      await hears(peer, "two 1");
    }
    await server.stop();
    const log = readFileSync(shop.at("data", "parley.log"), "utf8");
    expect(log.match(/handler-reloaded/g)?.length).toBe(1);
  },
);

test.concurrent(
  "--watch says that the folder of the handler is gone, and goes on when it is back",
  async () => {
    using shop = new Workshop();
    mkdirSync(shop.at("game"));
    const path = shop.write("game/greet.ts", saying("old"));
    await using server = await serve(["--auth", "none", "--handler", path, "--watch"], {
      data: shop.at("data"),
    });
    using peer = await Peer.connect(server.port);
    await peer.enter();
    await hears(peer, "old");
    rmSync(shop.at("game"), { recursive: true });
    await server.stderr.see(`there is no file ${path}`);
    await hears(peer, "old");
    mkdirSync(shop.at("game"));
    shop.write("game/greet.ts", saying("new"));
    await hears(peer, "new");
    await server.stop();
  },
);

test.concurrent.each([
  ["a timer of its own", "setTimeout(() => { throw new Error('on purpose'); }, 1);"],
  ["a promise without await", "void (async () => { await 0; throw new Error('on purpose'); })();"],
])("what %s throws is logged with its place, and ends no session", async (_, fault) => {
  using shop = new Workshop();
  shop.write("greet.ts", `export default (session, message) => {\n  ${fault}\n  session.send('ok');\n};`);
  await using server = await shop.serve("--log-format", "json");
  using peer = await Peer.connect(server.port);
  await peer.enter();
  peer.send("");
  expect(await peer.text()).toBe("ok");
  const log = () => readFileSync(shop.at("data", "parley.log"), "utf8").split("\n");
  const line = () => log().find((one) => one.includes("handler-failed"));
  await until("the log", true, () => Promise.resolve(line() !== undefined));
  const { reason, code, conn } = JSON.parse(line() ?? "") as Record<string, unknown>;
  expect(reason).toStartWith(`Error: on purpose, at ${shop.handler}:2:`);
  expect(code).toContain("2 |   ");
  expect(conn).toBeUndefined();
  peer.send("");
  expect(await peer.text()).toBe("ok");
  await server.stop();
});

test.concurrent.each([
  ["a text", "setTimeout(() => { throw 'on purpose'; }, 1);", "on purpose"],
  [
    "a failure of the system",
    "void import('node:fs/promises').then(({ stat }) => void stat('/none'));",
    "/none",
  ],
  ["text that is no JSON", "setTimeout(() => JSON.parse('{'), 1);", "JSON Parse error"],
  ["a wrong call as the last act", "setTimeout(() => session.send(undefined), 1);", "not undefined"],
])(
  "%s without a place in the file is the handler's fault, in the log and on the terminal",
  async (_, fault, words) => {
    using shop = new Workshop();
    shop.write("greet.ts", `export default (session) => {\n  ${fault}\n  session.send('ok');\n};`);
    const args = ["serve", "--auth", "none", "--port", "0", "--log-format", "json", "--log", shop.at("log")];
    await using screen = new Screen([...args, "--handler", shop.handler]);
    using peer = await Peer.connect(await portOf(screen));
    await peer.enter();
    peer.send("");
    expect(await peer.text()).toBe("ok");
    await screen.see("error in the handler: it belongs to no session");
    await screen.see(words);
    await screen.see("its place in the code is unknown");
    const log = () => readFileSync(shop.at("log"), "utf8");
    await until("the log", true, () => Promise.resolve(log().includes('"event":"handler-failed"')));
    peer.send("");
    expect(await peer.text()).toBe("ok");
  },
);

test.concurrent("what a promise throws after its session was closed is no fault", async () => {
  using shop = new Workshop();
  shop.write(
    "greet.ts",
    `export default {
  message: (session) => void session.finish(),
  close(session) {
    void session.writable();
    setTimeout(() => { throw new Error('later'); }, 1);
  },
};`,
  );
  await using server = await shop.serve();
  using peer = await Peer.connect(server.port);
  await peer.enter();
  peer.send("");
  await peer.rest();
  const log = () => readFileSync(shop.at("data", "parley.log"), "utf8");
  await until("the later error", true, () => Promise.resolve(log().includes("later")));
  expect(log()).not.toMatch(/service-failed|internal-error|SessionClosedError/);
  await server.stop();
});

test.concurrent(
  "a start hook that throws keeps a server from starting, with the lines of the file alone",
  async () => {
    using shop = new Workshop();
    const text = "export default { start() { throw new Error('on purpose'); }, message() {} };";
    shop.write("greet.ts", text);
    const { exitCode, stderr } = await run([
      "serve",
      "--auth",
      "none",
      "--port",
      "0",
      "--handler",
      shop.handler,
    ]);
    expect(exitCode).toBe(1);
    expect(stderr).toStartWith(`parley: error: cannot start ${shop.handler}:1:38: Error: on purpose\n`);
    expect(stderr).toContain(`1 | ${text}`);
    expect(stderr).not.toMatch(/at .*\b(?:src\/|cli\.ts)/);
  },
);

test.concurrent("a text that a hook throws is shown with the user's session", async () => {
  using shop = new Workshop();
  shop.write("greet.ts", "export default () => { throw 'on purpose'; };");
  await using screen = new Screen(["serve", "--auth", "none", "--port", "0", "--handler", shop.handler]);
  using peer = await Peer.connect(await portOf(screen));
  await peer.enter();
  peer.send("");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  await screen.see("error in the handler: the session of 127.0.0.1");
  await screen.see("on purpose");
});

test.concurrent(
  "faults of a session's timer and of none are shown on the terminal, with lines of code",
  async () => {
    using shop = new Workshop();
    shop.write(
      "greet.ts",
      `export default {
  start(server) { server.after(1, () => { throw new Error('of the server'); }); },
  message(session) { session.after(1, () => { throw new Error('of the session'); }); },
};`,
    );
    await using screen = new Screen(["serve", "--auth", "none", "--port", "0", "--handler", shop.handler]);
    await screen.see("error in the handler: it belongs to no session");
    const port = Number(/listening on 127\.0\.0\.1:(\d+)/.exec(screen.text.text)?.[1]);
    using peer = await Peer.connect(port);
    await peer.enter();
    peer.send("");
    expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
    await screen.see("has ended");
    await screen.see("3 |   message(session)");
  },
);

test.concurrent.each([
  [3, "kicked by ann"],
  [0, "until tomorrow"],
])("what a handler says with finish(%d, …) is shown to the person", async (status, words) => {
  using shop = new Workshop();
  shop.write("greet.ts", `export default (session) => session.finish(${status}, ${JSON.stringify(words)});`);
  await using server = await shop.serve();
  await using screen = new Screen(["connect", server.address]);
  await screen.see("> ");
  screen.enter("x");
  await screen.see(words);
  expect(await screen.exited).toBe(0);
  const { stderr } = await run(["connect", server.address, "--send", "x"]);
  expect(stderr).toBe(status === 0 ? "" : `${words}\n`); // a script has its exit code
  await server.stop();
});

test.concurrent(
  "what a hook throws is in the log with file, line and a code frame of the user's file alone",
  async () => {
    using shop = new Workshop();
    shop.write(
      "greet.ts",
      "export default (s, p) => {\n  if (p.length > 0) throw new Error('on purpose');\n  s.send('ok');\n};",
    );
    await using server = await shop.serve("--log-format", "json");
    using other = await Peer.connect(server.port);
    await other.enter();
    const { exitCode, stderr } = await run(["connect", server.address, "--send", "x"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("the service failed");
    expect(stderr).not.toContain("on purpose");
    await hears(other, "ok");
    await server.stop();
    const line = readFileSync(shop.at("data", "parley.log"), "utf8")
      .split("\n")
      .find((one) => one.includes("handler-failed"));
    const { reason, code } = JSON.parse(line ?? "") as { reason: string; code: string };
    expect(reason).toBe(`Error: on purpose, at ${shop.handler}:2:31`);
    expect(code).toContain("2 |   if (p.length > 0) throw new Error('on purpose');");
    expect(code).not.toContain("src/");
  },
);

test.concurrent.each([
  ["is not there", undefined, "there is no file"],
  ["does not compile", "export default {\n  message( {\n};", "greet.ts:"],
  ["imports what is not there", "\nimport './lib.ts';", "greet.ts:2: cannot find the module ./lib.ts\n"],
  ["exports nothing", "", "no message hook"],
])("--check and serve: a file that %s is 1, with file and reason", async (_, text, reason) => {
  using shop = new Workshop();
  if (text !== undefined) shop.write("greet.ts", text);
  for (const flags of [["--check"], []]) {
    const argv = ["serve", "--auth", "none", "--port", "0", "--handler", shop.handler, ...flags];
    const { exitCode, stdout, stderr } = await run(argv);
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toStartWith("parley: error: ");
    expect(stderr).toContain(reason);
    expect(stderr).toContain("parley: hint:");
  }
});

test.concurrent("a handler whose top level never ends is an error", async () => {
  using shop = new Workshop();
  shop.write("greet.ts", "await new Promise(() => {}); export default () => {};");
  const said = await Promise.all(
    [[], ["--check"]].map((check) =>
      run(["serve", "--auth", "none", "--port", "0", "--handler", shop.handler, ...check]),
    ),
  );
  for (const { exitCode, stdout, stderr } of said) {
    expect([exitCode, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("its top level has not finished within 10 s");
  }
});

test.concurrent.each([
  ..."a#b|a%b|a%41b|a b|a'b\"c|[a]*{b}|a&b=c;d|Пример|🎲|(a) (b|a:1:2".split("|"),
  "ä\nö",
])(
  "a folder named %j is no hindrance, nor to --watch, imports, a state that is kept and the place of a fault",
  async (name) => {
    using shop = new Workshop();
    mkdirSync(shop.at(name));
    shop.write(`${name}/mark.ts`, "export const mark = 'one';");
    const path = shop.write(
      `${name}/greet.ts`,
      "import { mark } from './mark.ts'; export default (s) => s.send(mark);",
    );
    const log = ["--log", shop.at("log"), "--log-format", "json"];
    await using server = await serve(["--auth", "none", "--handler", path, "--watch", ...log]);
    using peer = await Peer.connect(server.port);
    await peer.enter();
    await hears(peer, "one");
    shop.save(`${name}/mark.ts`, "export const mark = 'two';");
    await hears(peer, "two");
    const counting = `import { mark } from './mark.ts'; export const state = { n: 0 };
      export default (s) => s.send(mark + ++state.n);`;
    shop.save(`${name}/greet.ts`, counting.replace("+ ++state.n", "+ (state.n = 7)"));
    await hears(peer, "two7");
    shop.save(`${name}/greet.ts`, counting);
    await hears(peer, "two8");
    shop.save(
      `${name}/mark.ts`,
      "export const mark = {\n  toString() {\n    throw new Error('out of marks');\n  },\n};",
    );
    await until("the end of the session", true, () => {
      if (!peer.isClosed) peer.send("");
      return peer.isClosed;
    });
    await server.stop();
    const lines = readFileSync(shop.at("log"), "utf8").trim().split("\n");
    const reasons = lines.map((line) => JSON.parse(line) as { reason?: string });
    expect(reasons.map(({ reason }) => reason)).toContain(
      `Error: out of marks, at ${escapeLine(shop.at(name, "mark.ts"))}:3:15`,
    );
  },
);

test.concurrent.each(["a?b", "a\\b", "a?load=1"])(
  "a folder named %j is refused, since another file would be loaded; --init makes nothing there",
  async (name) => {
    using shop = new Workshop();
    mkdirSync(shop.at(name));
    const path = shop.write(`${name}/greet.ts`, saying("hello"));
    symlinkSync(shop.at(name), shop.at("plain"));
    shop.write("a", "throw new Error('this is another file');");
    for (const file of [path, shop.at("plain", "greet.ts")]) {
      const { exitCode, stderr } = await run(["serve", "--auth", "none", "--port", "0", "--handler", file]);
      expect(exitCode).toBe(1);
      const character = name.includes("?") ? "a question mark" : "a backslash";
      expect(stderr).toBe(
        `parley: error: cannot load ${path}: the folder ${name} has ${character} in its name, and Bun would look for another file\n` +
          "parley: hint: rename the folder, or move the file out of it; a symbolic link to it does not help\n",
      );
    }
    const init = await run(["serve", "--init", shop.at(name, "new.ts")]);
    expect(init.exitCode).toBe(1);
    expect(readdirSync(shop.at(name))).toEqual(["greet.ts"]);
  },
);

test.concurrent.each([
  ["of a link to such a folder", "./link/mark.ts"],
  ["of a link, without its ending", "./link/mark"],
  ["of the folder itself", "./NAME/mark.ts"],
  ["of such a file", "./fi?le.ts"],
])("an import %s is refused, and no other file is run in its place", async (_, specifier) => {
  for (const name of ["a?b", "a\\b"]) {
    using shop = new Workshop();
    for (const folder of [name, "a", "a/b"]) mkdirSync(shop.at(folder));
    for (const file of ["a/mark.ts", "a/b/mark.ts", "fi.ts"])
      shop.write(file, "throw new Error('this is another file');");
    for (const file of [`${name}/mark.ts`, "fi?le.ts"]) shop.write(file, "export const mark = 'one';");
    symlinkSync(shop.at(name), shop.at("link"));
    const from = JSON.stringify(specifier.replace("NAME", name));
    shop.write("greet.ts", `import { mark } from ${from}; export default (s) => s.send(mark);`);
    const { exitCode, stderr } = await run([
      "serve",
      "--auth",
      "none",
      "--port",
      "0",
      "--handler",
      shop.handler,
    ]);
    expect([exitCode, stderr]).toEqual([
      1,
      expect.stringMatching(/^parley: error: cannot load \S+: the (folder a[?\\]b|file fi\?le\.ts) has a /),
    ]);
    if (!specifier.startsWith("./link")) return;
    // A folder that is renamed is found again.
    rmSync(shop.at("link"));
    renameSync(shop.at(name), shop.at("link"));
    await using server = await shop.serve();
    expect((await run(["connect", server.address, "--send", "x"])).stdout).toBe("one\n");
    await server.stop();
  }
});

test.concurrent("an import with a query is none of a file with a question mark in its name", async () => {
  using shop = new Workshop();
  shop.write("mark.ts", "export const mark = 'one';");
  shop.write("greet.ts", "import { mark } from './mark.ts?1'; export default (s) => s.send(mark);");
  await using server = await shop.serve();
  expect((await run(["connect", server.address, "--send", "x"])).stdout).toBe("one\n");
  await server.stop();
});

test.concurrent(
  "--init writes a handler and its types, which agree and work; it overwrites nothing",
  async () => {
    using shop = new Workshop();
    const path = shop.handler;
    expect(await run(["serve", "--init", path])).toMatchObject({ exitCode: 0, stdout: "" });
    const written = readFileSync(path, "utf8");
    expect(readFileSync(shop.at("parley.d.ts"), "utf8")).toBe(HANDLER_TYPES);
    expect(written).toContain("--handler greet.ts --watch");
    const again = await run(["serve", "--init", path]);
    expect(again.exitCode).toBe(1);
    expect(again.stderr).toContain("it already exists");
    expect(readFileSync(path, "utf8")).toBe(written);
    await using server = await shop.serve();
    expect(await run(["connect", server.address, "--send", "hi"])).toMatchObject({
      exitCode: 0,
      stdout: "welcome, stranger\nyou said hi\n",
    });
    await server.stop();
  },
);

test.concurrent(
  "--init keeps types that are there: those of the user, and those of this version",
  async () => {
    using shop = new Workshop();
    shop.write("parley.d.ts", "// mine\n");
    const { exitCode, stderr } = await run(["serve", "--init", shop.handler]);
    expect(exitCode).toBe(0);
    expect(stderr).toContain("parley.d.ts was there and differs");
    expect(readFileSync(shop.at("parley.d.ts"), "utf8")).toBe("// mine\n");
    shop.write("parley.d.ts", HANDLER_TYPES);
    const again = await run(["serve", "--init", shop.at("more.ts")]);
    expect(again.exitCode).toBe(0);
    expect(again.stderr).not.toContain("differs");
  },
);

test.concurrent("--init quotes a name with a space, in what it says and in what it writes", async () => {
  using shop = new Workshop();
  const { stderr } = await run(["serve", "--init", "my greet.ts"], { cwd: shop.path });
  expect(stderr).toContain("run it with: parley serve --handler 'my greet.ts' --watch\n");
  const written = readFileSync(shop.at("my greet.ts"), "utf8");
  expect(written).toContain("parley serve --handler 'my greet.ts' --watch\n");
});

test.concurrent("what --init writes is checked by the types beside it", async () => {
  using shop = new Workshop();
  const path = shop.handler;
  await run(["serve", "--init", path]);
  const tsc = resolve(import.meta.dir, "../../../node_modules/.bin/tsc");
  const check = () =>
    Bun.spawnSync(
      [
        tsc,
        "--noEmit",
        "--strict",
        "--allowImportingTsExtensions",
        "--target",
        "esnext",
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
        "--types",
        "",
        "greet.ts",
      ],
      { cwd: shop.path },
    );
  const good = check();
  expect(good.stdout.toString()).toBe("");
  expect(good.exitCode).toBe(0);
  writeFileSync(path, readFileSync(path, "utf8").replace("message.text()", "message.txt()"));
  expect(check().stdout.toString()).toContain("txt");
});
