// A handler file as a service: its forms, what holds it back, what it throws, and how it is loaded again.

import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Handler } from "../../../src/services/handler/handler.ts";
import { PATIENCE_MS, within } from "../../support/attack.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { frame } from "../../support/peer.ts";
import { converse, hear } from "../../support/program.ts";
import { startServer, type TestServer } from "../../support/server.ts";

setDefaultTimeout(90_000);

let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder();
});
afterEach(() => folder[Symbol.dispose]());

function write(name: string, text: string): string {
  const path = join(folder.path, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

async function serveHandler(text: string, name = "greet.ts"): Promise<TestServer & { handler: Handler }> {
  const handler = await Handler.load(write(name, text));
  const server = await startServer({ auth: "none", service: handler, serviceName: "greet" });
  return Object.assign(server, { handler });
}

describe("what may be exported:", () => {
  test.each([
    ["a function", "export default (session, message) => session.send(message.text() + '!');"],
    ["an async function", "export default async (s, p) => { await 0; s.send(p.text() + '!'); };"],
    ["hooks", "export default { message(s, p) { s.send(p.text() + '!'); } };"],
    [
      "an object of a class, which keeps its own state",
      "class Loud { end = '!'; message(s, p) { s.send(p.text() + this.end); } }\nexport default new Loud();",
    ],
    [
      "TypeScript, with what only TypeScript has",
      `enum Mark { Loud = "!" }
       type Session = { send(text: string): void; };
       type Message = { text(): string };
       export default { message(s: Session, p: Message): void { s.send((p.text() + Mark.Loud) as string); } } satisfies object;`,
    ],
    [
      "with a top-level await",
      "const mark = await Promise.resolve('!');\nexport default (s, p) => s.send(p.text() + mark);",
    ],
  ])("%s", async (_, text) => {
    await using server = await serveHandler(text);
    expect((await converse(server, ["a", "ж"])).texts).toEqual(["a!", "ж!"]);
  });

  test("CommonJS, and a module with relative imports of other folders", async () => {
    write("lib/deep/mark.ts", "export const mark: string = '!';");
    write("lib/loud.ts", "export { mark } from './deep/mark.ts';");
    await using server = await serveHandler(
      "import { mark } from './lib/loud.ts';\nexport default (s, p) => s.send(p.text() + mark);",
    );
    expect((await converse(server, ["a"])).texts).toEqual(["a!"]);
    await using common = await serveHandler("module.exports = (s, p) => s.send(p.text() + '?');", "c.cjs");
    expect((await converse(common, ["a"])).texts).toEqual(["a?"]);
  });

  test.each(["a b.ts", "a%20b.ts", "a#b.ts", "ж.ts", "a(1).ts"])("in a file called %s", async (name) => {
    await using server = await serveHandler("export default (s) => s.send('here');", name);
    expect((await converse(server, [""])).texts).toEqual(["here"]);
  });
});

describe("what is refused, with what to do:", () => {
  test.each([
    ["nothing", "", /no message hook/],
    ["no default", "export const message = () => {};", /no message hook/],
    ["no message hook", "export default { open() {} };", /no message hook/],
    ["a text", "export default 'hello';", /no message hook/],
    ["null", "export default null;", /no message hook/],
    ["a mistake in the writing", "export default {\n  message( {\n};", /^cannot load .*greet\.ts:\d+:\d+: /],
    [
      "a missing import",
      "\nimport './nowhere.ts';\nexport default () => {};",
      /^cannot load \/.*greet\.ts:2: cannot find the module \.\/nowhere\.ts$/,
    ],
    [
      "a missing package",
      'import x from "parley-none";\nexport default () => x;',
      /^cannot load \/.*greet\.ts:1: cannot find the package parley-none$/,
    ],
    [
      "a missing import of CommonJS",
      "const x = require('./nowhere.cjs');",
      /^cannot load \/.*greet\.ts:1: cannot find the module \.\/nowhere\.cjs$/,
    ],
    [
      "a throw while loading",
      "\nthrow new Error('not today');",
      /^cannot load .*greet\.ts:2:\d+: Error: not today/,
    ],
  ])("%s", async (_, text, message) => {
    const failure: unknown = await Handler.load(write("greet.ts", text)).catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: "HandlerError", code: "unusable" });
    expect((failure as Error).message).toMatch(message);
    expect((failure as { hint?: string }).hint?.length).toBeGreaterThan(0);
  });

  const refusal = (path: string) => Handler.load(path).catch((error: unknown) => error);

  test("a file that is not there, with a command that can be pasted", async () => {
    const path = join(folder.path, "my greet.ts");
    expect(await refusal(path)).toMatchObject({
      code: "unusable",
      message: `there is no file ${path}`,
      hint: `create one with: parley serve --init '${path}'`,
    });
  });

  test("a pipe, for which nobody waits, and a folder", async () => {
    const pipe = join(folder.path, "pipe.ts");
    execFileSync("mkfifo", [pipe]);
    for (const path of [pipe, folder.path])
      expect(await refusal(path)).toMatchObject({
        code: "unusable",
        message: `${path} is not a regular file`,
      });
  });
});

describe("hooks", () => {
  test("run in order: open, messages, end, close, each after the one before is done, never two at once", async () => {
    await using server = await serveHandler(`
      let inside = 0;
      const said = [];
      async function step(session, what) {
        if (++inside > 1) said.push("TWO AT ONCE");
        for (let turns = Math.random() * 4; turns > 0; turns--) await new Promise(setImmediate);
        said.push(what);
        inside--;
      }
      export default {
        open: (s) => step(s, "open"),
        message: (s, p) => step(s, p.text()),
        async end(s) { await step(s, "end"); s.send(said.join(" ")); s.finish(7, "enough"); },
      };`);
    const messages = Array.from({ length: 50 }, (_, i) => `m${i}`);
    const { texts, bye } = await converse(server, messages);
    expect(texts).toEqual([["open", ...messages, "end"].join(" ")]);
    expect(bye).toMatchObject({ code: "done", status: 7, message: "enough" });
  });

  test("end is called once, although the server stops meanwhile", async () => {
    const parleyEnding: { finish(): void }[] = [];
    Object.assign(globalThis, { parleyEnding });
    await using server = await serveHandler(`
      export default {
        message() {},
        end(s) { s.send("end"); globalThis.parleyEnding.push(s); },
      };`);
    using peer = await server.peer();
    using idle = await server.peer();
    for (const one of [peer, idle]) await one.enter();
    peer.control({ type: "end" });
    expect(await peer.text()).toBe("end");
    const stopped = server.server.stop(PATIENCE_MS);
    expect(await idle.text()).toBe("end"); // the server has told everybody whom it would tell
    expect(parleyEnding).toHaveLength(2);
    for (const session of parleyEnding) session.finish();
    idle.end();
    expect((await hear(peer)).texts).toEqual([]);
    peer.end();
    await stopped;
  });

  test("everybody who waits until more may be sent is told", async () => {
    await using server = await serveHandler(`
      const block = new Uint8Array(64 * 1024);
      export default {
        message(s) {
          for (let i = 0; i < 50; i++) s.send(block);
          for (const name of ["one", "two"]) void Promise.resolve(s.writable()).then(() => s.send(name));
        },
      };`);
    using peer = await server.peer();
    await peer.enter();
    peer.socket.pause();
    peer.send("go");
    await new Promise<void>((resolve) => setImmediate(resolve));
    peer.socket.resume();
    const heard: string[] = [];
    while (heard.length < 2) {
      const text = (await within("both", peer.text())) ?? "";
      if (text.length < 10) heard.push(text);
    }
    expect(heard.sort()).toEqual(["one", "two"]);
  });

  test("session.data is each conversation's own, and rooms reach the others", async () => {
    await using server = await serveHandler(`
      export default {
        open(s) { s.data = 0; s.join("all"); s.send("in"); },
        message(s, p) { s.data++; s.join("all").broadcast(p.text() + s.data, s); },
      };`);
    using ann = await server.peer();
    using bob = await server.peer();
    for (const peer of [ann, bob]) {
      await peer.enter();
      expect(await peer.text()).toBe("in");
    }
    ann.send("a");
    ann.send("a");
    expect([await bob.text(), await bob.text()]).toEqual(["a1", "a2"]);
    bob.send("b");
    expect(await ann.text()).toBe("b1");
  });
});

describe("what a hook throws ends its own conversation, and the log says where:", () => {
  const THROWER = `
export default {
  open(s) { if (globalThis.parleyOpen) throw new Error("in open"); },
  message(s, p) {
    const text = p.text();
    if (text === "sync") throw new Error("in sync");
    if (text === "async") return Promise.reject(new Error("in async"));
    if (text === "text") throw "a text";
    if (text === "null") throw null;
    if (text === "pg") throw Object.assign(new Error("in pg"), { position: "15" });
    if (text === "pg2") throw Object.assign(new Error("in pg2"), { position: undefined });
    if (text === "import") return import("./" + "nowhere.ts");
    if (text === "number") { s.send(42); return; }
    if (text === "undefined") s.send(undefined);
    s.send("ok " + text);
  },
  close(s) { if (s.data) throw new Error("in close"); },
};`;
  test.each([
    ["sync", /Error: in sync, at .*greet\.ts:6:\d+/],
    ["async", /Error: in async, at .*greet\.ts:7:\d+/],
    ["text", /a text/],
    ["null", /null/],
    ["pg", /Error: in pg, at .*greet\.ts:10:\d+/],
    ["pg2", /Error: in pg2, at .*greet\.ts:11:\d+/],
    ["import", /^cannot find the module \.\/nowhere\.ts, at \/.*greet\.ts$/],
    ["number", /greet\.ts:13:\d+/],
    ["undefined", /greet\.ts:14:\d+/],
  ])("%s", async (text, reason) => {
    await using server = await serveHandler(THROWER);
    using other = await server.peer();
    await other.enter();
    const { texts, bye } = await converse(server, ["before", text, "after"]);
    expect(texts).toEqual(["ok before"]);
    expect(bye).toMatchObject({ code: "service_failed", message: "the service failed" });
    other.send("still");
    expect(await other.text()).toBe("ok still");
    const { fields } = await server.event("handler-failed");
    expect(String(fields["reason"])).toMatch(reason);
  });

  test("in a folder whose name has a space", async () => {
    await using server = await serveHandler(
      "export default () => { throw new Error('x'); };",
      "my files/g.ts",
    );
    await converse(server, [""]);
    const { fields } = await server.event("handler-failed");
    expect(String(fields["reason"])).toContain(join(folder.path, "my files/g.ts:1:"));
  });

  test.each([
    ["close", "close() { throw new Error('in close'); }"],
    ["an async close", "async close() { await 0; throw new Error('in close'); }"],
    ["open", "open() { throw new Error('in close'); }"],
    ["an async open", "async open() { await 0; throw new Error('in close'); }"],
    ["end", "end() { throw new Error('in close'); }"],
  ])("in %s", async (_, hook) => {
    await using server = await serveHandler(`export default { message(s) { s.send("x"); }, ${hook} };`);
    await converse(server, ["a"]);
    const { fields } = await within("the log", server.event("handler-failed"));
    expect(String(fields["reason"])).toMatch(/in close, at .*greet\.ts:1:/);
  });
});

describe("loaded again", () => {
  const saying = (text: string) => `export default (s) => s.send(${JSON.stringify(text)});`;

  test("the next message of an open conversation goes to the new code", async () => {
    await using server = await serveHandler(saying("old"));
    using peer = await server.peer();
    await peer.enter();
    peer.send("");
    expect(await peer.text()).toBe("old");
    const next = write("next.ts", saying("new"));
    renameSync(next, server.handler.path); // as editors save
    await server.handler.reload();
    peer.raw(Buffer.concat([frame(""), frame("")]));
    expect([await peer.text(), await peer.text()]).toEqual(["new", "new"]);
  });

  test("with what it imports", async () => {
    write("mark.ts", "export const mark = 'old';");
    await using server = await serveHandler(
      "import { mark } from './mark.ts'; export default (s) => s.send(mark);",
    );
    write("mark.ts", "export const mark = 'new';");
    await server.handler.reload();
    expect((await converse(server, [""])).texts).toEqual(["new"]);
  });

  test.each(["export default {", "export default 7;", "throw new Error('x');", "import './no.ts';"])(
    "one that says %j leaves the old code at work, and a good one is taken up after it",
    async (text) => {
      await using server = await serveHandler(saying("old"));
      for (let i = 0; i < 2; i++) {
        write("greet.ts", text);
        expect(await server.handler.reload().catch((error: unknown) => error)).toMatchObject({
          code: "unusable",
        });
        expect((await converse(server, [""])).texts).toEqual(["old"]);
      }
      write("greet.ts", saying("new"));
      await server.handler.reload();
      expect((await converse(server, [""])).texts).toEqual(["new"]);
    },
  );

  test.each([
    ["does not compile", "export const mark = ;"],
    ["lacks what is asked of it", "export const other = 1;"],
    ["throws while it loads", "throw new Error('x'); export const mark = 1;"],
    ["rejects while it loads", "await Promise.reject(new Error('x')); export const mark = 1;"],
    ["is not there", undefined],
  ])("an import that %s for a moment is taken up once it is right again", async (_, text) => {
    const good = (mark: string) => write("lib/mark.ts", `export const mark = '${mark}';`);
    good("old");
    await using server = await serveHandler(
      "import { mark } from './lib/mark.ts'; export default (s) => s.send(mark);",
    );
    for (const mark of ["new", "newer"]) {
      if (text === undefined) rmSync(join(folder.path, "lib/mark.ts"));
      else write("lib/mark.ts", text);
      for (let times = 0; times < 2; times++) {
        expect(await server.handler.reload().catch((error: unknown) => error)).toMatchObject({
          code: "unusable",
        });
      }
      good(mark);
      expect(server.handler.versions).not.toEqual(server.handler.loaded);
      await server.handler.reload();
      expect(server.handler.versions).toEqual(server.handler.loaded);
      expect((await converse(server, [""])).texts).toEqual([mark]);
    }
  });

  test("data that is broken for a moment is taken up once it is right again", async () => {
    write("data.json", '{"mark":"old"}');
    await using server = await serveHandler(
      "import data from './data.json'; export default (s) => s.send(data.mark);",
    );
    write("data.json", '{"mark":');
    expect(await server.handler.reload().catch((error: unknown) => error)).toMatchObject({
      code: "unusable",
    });
    write("data.json", '{"mark":"new"}');
    await server.handler.reload();
    expect((await converse(server, [""])).texts).toEqual(["new"]);
  });

  test("one whose top level never settles holds up no later one", async () => {
    await using server = await serveHandler(saying("old"));
    write("greet.ts", `await new Promise(() => {});\n${saying("never")}`);
    void server.handler.reload();
    write("greet.ts", saying("new"));
    await server.handler.reload();
    expect((await converse(server, [""])).texts).toEqual(["new"]);
  });

  test("the last one asked for wins, although one before takes longer to load", async () => {
    await using server = await serveHandler(saying("old"));
    const loading = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const parleyLoading = () => {
      loading.resolve();
      return gate.promise;
    };
    Object.assign(globalThis, { parleyLoading });
    write("greet.ts", `await globalThis.parleyLoading();\n${saying("slow")}`);
    const slow = server.handler.reload();
    await loading.promise;
    write("greet.ts", saying("last"));
    const last = server.handler.reload();
    // Longer than the last one takes, if it does not wait for the slow one.
    for (let n = 0; n < 20; n++) await import(write(`other${n}.ts`, saying("other")));
    gate.resolve();
    await Promise.all([slow, last]);
    expect((await converse(server, [""])).texts).toEqual(["last"]);
  });
});

test.each([
  ["what it awaits", "for (;;) { s.send('more'); await s.writable(); }"],
  [
    "the signal of a timer",
    "for (;;) { s.send('tick'); await sleep(1000, undefined, { signal: s.signal }); }",
  ],
])("a hook that ends with its client, by %s, is no failure", async (_, loop) => {
  await using server = await serveHandler(`
    import { setTimeout as sleep } from "node:timers/promises";
    export default { async open(s) { ${loop} }, message() {} };`);
  using peer = await server.peer();
  await peer.enter();
  await peer.text();
  peer.reset();
  await server.event("disconnected");
  expect(server.events.filter(({ level }) => level === "error")).toEqual([]);
});
