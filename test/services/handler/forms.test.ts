// A handler as a class: an object for each session, over a reload too; and what the server itself calls and shows.

import { mkdirSync, writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { Handler } from "../../../src/services/handler/handler.ts";
import { MisuseError } from "../../../src/services/service.ts";
import { portForLater } from "../../support/executable.ts";
import { tempFolder, type TempFolder } from "../../support/folder.ts";
import { startServer, type TestServer } from "../../support/server.ts";

setDefaultTimeout(60_000);

let folder: TempFolder;
beforeEach(() => {
  folder = tempFolder();
});
afterEach(() => folder[Symbol.dispose]());

const write = (text: string) => {
  const path = join(folder.path, "greet.ts");
  writeFileSync(path, text);
  return path;
};

async function serve(
  text: string,
): Promise<TestServer & { handler: Handler; load: (text: string) => Promise<void> }> {
  const handler = await Handler.load(write(text));
  const server = await startServer({ auth: "none", service: handler });
  const load = (next: string) => (write(next), handler.reload());
  return Object.assign(server, { handler, load });
}

const counter = (answer: string, more = "") => `export default class Counter {
  count = 0;
  ${more}
  constructor(session) { this.session = session; }
  open() { this.session.send("open"); }
  message(message) { this.count++; this.session.send(${answer}); }
  close() { globalThis.closedWith?.(this.count); }
}`;

test("a class has an object for each session", async () => {
  await using server = await serve(counter("`${message.text()} ${this.count}`"));
  using ann = await server.peer();
  using bob = await server.peer();
  await ann.enter();
  await bob.enter();
  for (const peer of [ann, bob]) expect(await peer.text()).toBe("open");
  ann.send("a");
  ann.send("b");
  expect([await ann.text(), await ann.text()]).toEqual(["a 1", "b 2"]);
  bob.send("c");
  expect(await bob.text()).toBe("c 1");
});

test("an object of a class goes on with new code: with its fields, and the new methods", async () => {
  await using server = await serve(counter("`old ${this.count}`"));
  using peer = await server.peer();
  await peer.enter();
  peer.send("");
  expect([await peer.text(), await peer.text()]).toEqual(["open", "old 1"]);
  await server.load(counter("`new ${this.count}`"));
  peer.send("");
  expect(await peer.text()).toBe("new 2");
  await server.load("export default (session, message) => session.send('a function');");
  peer.send("");
  expect(await peer.text()).toBe("a function");
  await server.load(counter("`again ${this.count}`"));
  peer.send("");
  expect(await peer.text()).toBe("again 1");
});

test("an object with private members keeps the code that made it; later sessions have the new one", async () => {
  await using server = await serve(counter("`old ${++this.#own}`", "#own = 0;"));
  using peer = await server.peer();
  await peer.enter();
  expect(await peer.text()).toBe("open");
  await server.load(counter("`new ${++this.#own}`", "#own = 10;"));
  peer.send("");
  expect(await peer.text()).toBe("old 1");
  using later = await server.peer();
  await later.enter();
  later.send("");
  expect([await later.text(), await later.text()]).toEqual(["open", "new 11"]);
});

test.each([
  ["constructor", "export default class { constructor() {\n throw new Error('no'); } message() {} }"],
  ["hook", "export default class {\n open() { throw new Error('no'); } message() {} }"],
  ["promise of a hook", "export default class {\n async open() { throw new Error('no'); } message() {} }"],
])("what the %s of a class throws is logged with its place", async (_, text) => {
  await using server = await serve(text);
  using peer = await server.peer();
  await peer.enter();
  expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  const { fields } = await server.event("handler-failed");
  expect(String(fields["reason"])).toMatch(/^Error: no, at \/.*greet\.ts:2:/);
  expect(String(fields["code"])).toContain("throw new Error");
});

test("a class without message is refused", async () => {
  const path = write("export default class { open() {} }");
  const failure: unknown = await Handler.load(path).catch((error: unknown) => error);
  expect(failure).toMatchObject({ name: "HandlerError", code: "unusable" });
});

const LIFE = (name: string) => `
const calls = (globalThis.calls ??= []);
export default {
  start(server) { calls.push("start ${name} " + server.sessions.size); this.server = server; },
  stop() { calls.push("stop ${name}"); },
  message(session, message) {
    session.join("hall");
    session.send([...this.server.sessions].length + " " + this.server.room("hall").members.size + " " + this.server.room("else").members.size);
  },
};`;

test("start and stop are called once for each code; the server shows sessions, and rooms without joining them", async () => {
  const { calls } = Object.assign(globalThis as unknown as { calls: string[] }, { calls: [] as string[] });
  let load: (text: string) => Promise<void>;
  {
    await using server = await serve(LIFE("one"));
    load = server.load;
    expect(calls).toEqual(["start one 0"]);
    using peer = await server.peer();
    await peer.enter();
    peer.send("");
    expect(await peer.text()).toBe("1 1 0");
    await server.load(LIFE("two"));
    expect(calls).toEqual(["start one 0", "start two 1", "stop one"]);
  }
  await load(LIFE("three")); // the server is gone
  expect(calls).toEqual(["start one 0", "start two 1", "stop one", "stop two"]);
});

test("sessions wait for a promise of start; its failure is reported", async () => {
  const gate = Promise.withResolvers<void>();
  Object.assign(globalThis, { gate: gate.promise });
  await using server = await serve(`export default {
    async start() { await globalThis.gate; throw new Error("not loaded"); },
    open(session) { session.send("open"); }, message() {} };`);
  using peer = await server.peer();
  await peer.enter();
  gate.resolve();
  expect(await peer.text()).toBe("open");
  expect(String((await server.event("handler-failed")).fields["reason"])).toContain("Error: not loaded, at ");
});

test("a start hook that throws keeps the server from starting", async () => {
  const handler = await Handler.load(
    write("export default { start() { throw new Error('no'); }, message() {} };"),
  );
  const failure: unknown = await startServer({ auth: "none", service: handler }).catch(
    (error: unknown) => error,
  );
  expect(failure).toMatchObject({ name: "HandlerError", code: "unusable" });
  const port = portForLater();
  const again: unknown = await startServer({ auth: "none", service: handler, port }).catch(() => undefined);
  expect(again).toBeUndefined();
  await using server = await startServer({ auth: "none", port, strictPort: true }); // it was given back
  expect(server.port).toBe(port);
});

const reloadError = (server: { load(text: string): Promise<void> }, text: string) =>
  server.load(text).then(
    () => undefined,
    (error: unknown) => error as Error & { hint: string },
  );

test.each([
  ["throws", "start(server)", "throw new Error('no');"],
  ["rejects", "async start(server)", "await 0; throw new Error('no');"],
])(
  "the old code goes on where the start hook of the new code %s: with its timers and its state",
  async (_, head, body) => {
    const { calls } = Object.assign(globalThis as unknown as { calls: string[] }, { calls: [] as string[] });
    await using server = await serve(`export const state = { count: 1 };
export default {
  start(server) { server.every(1, () => globalThis.calls.push("old timer")); },
  stop() { globalThis.calls.push("old stop"); },
  message: (session) => session.send("old " + state.count++) };`);
    using peer = await server.peer();
    await peer.enter();
    peer.send("");
    expect(await peer.text()).toBe("old 1");
    const error = await reloadError(
      server,
      `export const state = { count: 100 };
export default { ${head} {
  server.every(1, () => globalThis.calls.push("new timer"));
  ${body} },
  message: (session) => session.send("new " + state.count++) };`,
    );
    expect(error).toMatchObject({ name: "HandlerError", code: "unusable" });
    expect(error?.message).toMatch(/^cannot start \/.*greet\.ts:4:\d+: Error: no$/);
    expect(error?.hint).toContain("throw new Error('no')");
    calls.length = 0;
    while (calls.length < 5) await Bun.sleep(1);
    expect(new Set(calls)).toEqual(new Set(["old timer"]));
    peer.send("");
    expect(await peer.text()).toBe("old 2");
    await server.load(
      "export const state = { count: 0 }; export default (s) => s.send('third ' + state.count);",
    );
    expect(calls).toContain("old stop");
    peer.send("");
    expect(await peer.text()).toBe("third 3");
  },
);

test("sessions keep the old code while a promise of the new start hook is pending, and then have the new one", async () => {
  const gate = Promise.withResolvers<void>();
  Object.assign(globalThis, { gate: gate.promise });
  await using server = await serve("export default (session) => session.send('old');");
  using peer = await server.peer();
  await peer.enter();
  const loading = server.load(
    "export default { async start() { await globalThis.gate; }, message: (s) => s.send('new') };",
  );
  const later = loading.then(() => server.load("export default (session) => session.send('newest');"));
  peer.send("");
  expect(await peer.text()).toBe("old");
  gate.resolve();
  await loading;
  await later;
  peer.send("");
  expect(await peer.text()).toBe("newest");
});

test("two loads at once start one after the other, and the last one stays", async () => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  Object.assign(globalThis, { gate: gate.promise, begun: begun.resolve });
  const { calls } = Object.assign(globalThis as unknown as { calls: string[] }, { calls: [] as string[] });
  await using server = await serve("export default () => {};");
  const one = server.load(`export default {
    async start() { globalThis.begun(); await globalThis.gate; globalThis.calls.push("one"); },
    stop() { globalThis.calls.push("stop one"); }, message() {} };`);
  await begun.promise;
  const loaded = Promise.withResolvers<void>();
  Object.assign(globalThis, { loaded: loaded.resolve });
  const two = server.load(`globalThis.loaded();
export default { start() { globalThis.calls.push("two"); }, message: (s) => s.send("two") };`);
  await loaded.promise;
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate); // it could start now, but waits
  gate.resolve();
  await Promise.all([one, two]);
  expect(calls).toEqual(["one", "two", "stop one"]);
  using peer = await server.peer();
  await peer.enter();
  peer.send("");
  expect(await peer.text()).toBe("two");
});

test("a start hook of new code that never settles is refused after a while; a first one lets sessions in with new code", async () => {
  const handler = await Handler.load(
    write("export default { start: () => new Promise(() => {}), message() {} };"),
    50,
  );
  await using server = await startServer({ auth: "none", service: handler });
  using peer = await server.peer();
  await peer.enter();
  const error: unknown = await handler.reload().catch((thrown: unknown) => thrown);
  expect((error as Error).message).toMatch(/its start hook has not finished within 50 ms/);
  write("export default { open: (s) => s.send('open'), message() {} };");
  await handler.reload();
  expect(await peer.text()).toBe("open");
});

test("a server timer that old code starts later runs, until the next code is in use", async () => {
  const { ticks } = Object.assign(globalThis as unknown as { ticks: string[] }, { ticks: [] as string[] });
  const code = (name: string) => `let server;
export default {
  start(started) { server = started; },
  open(session) { session.data = () => server.every(1, () => globalThis.ticks.push("${name}")); },
  message(session) { session.data(); session.send("started"); } };`;
  await using server = await serve(code("old"));
  using peer = await server.peer();
  await peer.enter();
  await server.load(code("second"));
  await server.load(code("third"));
  peer.send("");
  expect(await peer.text()).toBe("started");
  while (!ticks.includes("old")) await Bun.sleep(1);
  await server.load(
    "export default { start(s) { s.every(1, () => globalThis.ticks.push('new')); }, message() {} };",
  );
  ticks.length = 0;
  while (ticks.length < 5) await Bun.sleep(1);
  expect(new Set(ticks)).toEqual(new Set(["new"]));
});

test("an error is that of the handler where it comes from its folder or its imports, or from no file, and from no other", async () => {
  mkdirSync(join(folder.path, "game"));
  mkdirSync(join(folder.path, "game2"));
  writeFileSync(join(folder.path, "lib.ts"), "export const fail = () => { throw new Error('lib'); };");
  writeFileSync(
    join(folder.path, "game2", "other.ts"),
    "export const fail = () => { throw new Error('other'); };",
  );
  const path = join(folder.path, "game", "greet.ts");
  writeFileSync(
    path,
    "import { fail } from '../lib.ts';\nexport const state = { fail };\nexport default () => fail();",
  );
  const handler = await Handler.load(path);
  const other = (await import(join(folder.path, "game2", "other.ts"))) as { fail: () => void };
  const thrown = (fail: () => void): unknown => {
    try {
      fail();
    } catch (error) {
      return error;
    }
    return undefined;
  };
  const { fail } = handler.code.state as unknown as { fail: () => void };
  expect(handler.isCauseOf(thrown(fail))).toBe(true);
  const ofSystem = await stat(join(folder.path, "none")).catch((error: unknown) => error);
  Object.defineProperty(ofSystem, "stack", { value: String(ofSystem) }); // as without await
  for (const error of ["text", undefined, { code: 7 }, ofSystem, new MisuseError("a message is text")])
    expect(handler.isCauseOf(error)).toBe(true);
  expect(handler.isCauseOf(thrown(other.fail))).toBe(false);
  expect(handler.isCauseOf(new Error("of parley"))).toBe(false);
});

test("state is carried over, also for code that still runs; what is new in it has its first value", async () => {
  const withState = (state: string, answer: string) =>
    `export const state = ${state};
     export default { open(s) { s.every(3_600_000, () => 0); s.data = () => state.count++; }, message(s) { s.data(); s.send(${answer}); } };`;
  await using server = await serve(
    withState("{ count: 1, names: new Map([['a', 1]]) }", "String(state.count)"),
  );
  using peer = await server.peer();
  await peer.enter();
  peer.send("");
  expect(await peer.text()).toBe("2");
  await server.load(
    withState(
      "{ count: 100, names: new Map(), more: 7 }",
      "[state.count, state.names.get('a'), state.more].join()",
    ),
  );
  peer.send("");
  expect(await peer.text()).toBe("3,1,7");
  await server.load(withState("{ count: 0 }", "String(state.count)"));
  peer.send("");
  expect(await peer.text()).toBe("4");
});

test("a state that could not be carried over is refused", async () => {
  const path = write("export const state = new Map();\nexport default () => {};");
  const failure: unknown = await Handler.load(path).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "unusable", hint: expect.stringContaining("export const state") });
});

test("a top level that never settles is refused after a while", async () => {
  const path = write("await new Promise(() => {});\nexport default () => {};");
  const failure: unknown = await Handler.load(path, 50).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "unusable" });
  expect((failure as Error).message).toMatch(/its top level has not finished within 50 ms/);
});

test("a timer of a session ends with the session, and one of the server with its code", async () => {
  const { ticks } = Object.assign(globalThis as unknown as { ticks: string[] }, { ticks: [] as string[] });
  const code = (name: string) => `export default {
    start(server) { server.every(1, () => globalThis.ticks.push("server ${name}")); },
    open(session) {
      session.every(1, () => { globalThis.ticks.push("session ${name}"); session.send("tick"); });
      session.after(2, () => session.send("after"));
    },
    message(session) { session.finish(); } };`;
  await using server = await serve(code("one"));
  using peer = await server.peer();
  await peer.enter();
  const heard = new Set<string>();
  while (heard.size < 2) heard.add((await peer.text())!);
  await server.load(code("two"));
  ticks.length = 0;
  while (!ticks.includes("server two")) await Bun.sleep(1);
  expect(ticks).not.toContain("server one");
  peer.send("");
  while ((await peer.frame()) !== null);
  await server.event("disconnected");
  ticks.length = 0;
  while (ticks.length < 5) await Bun.sleep(1);
  expect(new Set(ticks)).toEqual(new Set(["server two"]));
});

test.each([
  ["throws", "() => { throw new Error('tick'); }"],
  ["rejects", "async () => { await 0; throw new Error('tick'); }"],
])("a timer of a session that %s ends that session, and no other", async (_, callback) => {
  await using server = await serve(`export default {
  message(session, message) {
    if (message.text() === "fail") session.after(1, ${callback});
    else session.send(message);
  } };`);
  using broken = await server.peer();
  using whole = await server.peer();
  await broken.enter();
  await whole.enter();
  broken.send("fail");
  expect(await broken.message()).toMatchObject({ type: "bye", code: "service_failed" });
  const { fields } = await server.event("handler-failed");
  expect(String(fields["reason"])).toMatch(/^Error: tick, at \/.*greet\.ts:3:/);
  expect(fields["conn"]).toBeDefined();
  whole.send("still here");
  expect(await whole.text()).toBe("still here");
});

test("a timer of the server that throws is reported, and goes on; it ends no session", async () => {
  await using server = await serve(`let count = 0;
export default {
  start(server) { server.every(1, () => { if (++count === 2) throw new Error("tick"); }); },
  message: (session) => session.send(String(count)) };`);
  using peer = await server.peer();
  await peer.enter();
  const { fields } = await server.event("handler-failed");
  expect(String(fields["reason"])).toMatch(/^Error: tick, at /);
  expect(fields["conn"]).toBeUndefined();
  let last = "";
  while (Number(last) < 3) {
    peer.send("");
    last = (await peer.text())!;
  }
});

test.each([
  ["session.finish('bye')", "finish(status, reason) takes a status from 0 to 255, not string"],
  ["session.finish(NaN)", "finish(status, reason) takes a status from 0 to 255, not NaN"],
  ["session.finish(256)", "finish(status, reason) takes a status from 0 to 255, not 256"],
  ["session.finish(-1)", "finish(status, reason) takes a status from 0 to 255, not -1"],
  ["session.finish(0, null)", "the reason of finish is text, not null"],
  ["session.after(5)", "a timer calls a function, not undefined"],
  ["session.every(5, 'x')", "a timer calls a function, not string"],
  ["session.join(undefined)", "the name of a room is text, not undefined"],
  ["session.leave({})", "the name of a room is text, not object"],
  ["session.join('hall').tell(session, 'x')", "the name of a user is text, not object"],
  ["session.sendStderr(42)", "what sendStderr sends is text, not number"],
])("%s ends the session with a reason, and names the mistake in the log", async (call, mistake) => {
  await using server = await serve(`export default { message(session) {\n ${call}; } };`);
  using peer = await server.peer();
  await peer.enter();
  peer.send("go");
  expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  const { fields } = await server.event("handler-failed");
  expect(String(fields["reason"])).toStartWith(`TypeError: ${mistake}, at /`);
});

test.each([
  ["", "message(session) { return session.send(42); }", "message"],
  [" of a promise", "async message(session) { return session.send(42); }", "message"],
  [" of another hook", "message() {}, end(session) { return session.send(42); }", "end"],
])("an error%s that has lost its place, as that of a returned call, has the hook", async (_, hooks, hook) => {
  await using server = await serve(`export default { ${hooks} };`);
  using peer = await server.peer();
  await peer.enter();
  peer.send("go");
  peer.control({ type: "end" });
  expect(await peer.message()).toMatchObject({ type: "bye", code: "service_failed" });
  const { fields } = await server.event("handler-failed");
  expect(String(fields["reason"])).toMatch(
    new RegExp(`^TypeError: a message is .*, (?:at /.*|in the ${hook} hook)$`),
  );
});

test("console.log of a session prints what a handler knows of it, and no more", async () => {
  await using server = await serve(`export default {
  open(session) { session.data = { points: 3 }; },
  message(session) { session.send(Bun.inspect([session], { colors: false, compact: true })); } };`);
  using peer = await server.peer();
  await peer.enter();
  peer.send("go");
  const shown = String(await peer.text());
  const names = [...shown.matchAll(/\b([a-z]+):/g)].map(([, name]) => name);
  expect(names).toEqual(["id", "user", "tags", "peer", "attached", "data", "points"]);
});
