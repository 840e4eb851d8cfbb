// What the protocol promises of resumes, by the executable: one that arrives late, what confirms, what is sent again, what
// is final, and what the log says of a lost `bye`.

import { join } from "node:path";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "bun:test";
import { until, within } from "../../support/attack.ts";
import { addUser, PASSWORD, run, serve } from "../../support/executable.ts";
import { tempFolder } from "../../support/folder.ts";
import { Peer } from "../../support/peer.ts";
import { DURABLE, payloads, reconnect, resumeLogin, resumeOf, type Json } from "../../support/resume.ts";

/** A server without logins, and its log. */
async function server(flags: string[], handler?: string) {
  const folder = tempFolder();
  const file = join(folder.path, "handler.ts");
  if (handler !== undefined) writeFileSync(file, handler);
  const service = handler === undefined ? [] : ["--handler", file];
  const serving = await serve(["--auth", "none", "--no-tls", ...flags, ...service], { data: folder.path });
  const log = () => readFileSync(join(folder.path, "parley.log"), "utf8");
  return {
    ...serving,
    /** Waits until the log has a line with each of `words`. */
    logged: (...words: string[]) =>
      until(words.join(" "), true, () =>
        log()
          .split("\n")
          .some((line) => words.every((word) => line.includes(word))),
      ),
    async [Symbol.asyncDispose]() {
      await serving[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** The next control message of `type`; other frames are passed over. */
async function control(peer: Peer, type: string): Promise<Json> {
  peer.seesAcks = true;
  for (;;) {
    const next = await within(type, peer.frame());
    if (next === null) throw new Error(`the stream ended without ${type}`);
    if (!next.control) continue;
    const message = JSON.parse(next.payload.toString()) as Json;
    if (message["type"] === type) return message;
  }
}

async function enter(port: number) {
  const peer = await Peer.connect(port);
  return { peer, resume: resumeOf(await peer.enter(DURABLE)) };
}

test("one on a connection that is older than the session's present one is refused, and costs nothing", async () => {
  await using serving = await server([]);
  const { peer: first, resume } = await enter(serving.port);
  using late = await Peer.connect(serving.port); // its login is delayed on the way
  const hello = await late.message();
  first.reset();
  await serving.logged("lost");
  const [present, welcome] = await reconnect(serving.port, resume, 0);
  using _ = present;
  expect(welcome).toMatchObject({ resumed: true });
  late.json(resumeLogin(resume, 0, hello));
  expect(await late.message()).toMatchObject({
    type: "error",
    code: "busy",
    retry_after: expect.any(Number),
  });
  present.send("still here");
  expect(await payloads(present, 1)).toEqual(["still here"]);
});

/** Waits at "two" until another client says "open". */
const GATED = `
const gate = Promise.withResolvers();
export default { async message(session, message) {
  const text = message.text();
  if (text === "open") gate.resolve();
  if (text === "two") await gate.promise;
} };`;

async function open(port: number): Promise<void> {
  using peer = await Peer.connect(port);
  await peer.enter();
  peer.send("open");
  peer.control({ type: "end" });
  await peer.rest();
}

test("`received` confirms nothing: what a hook has not finished is acknowledged when it has", async () => {
  await using serving = await server([], GATED);
  const { peer: first, resume } = await enter(serving.port);
  first.send("one");
  first.send("two");
  expect(await control(first, "ack")).toMatchObject({ received: 1 });
  first.reset();
  await serving.logged("lost");
  using second = await Peer.connect(serving.port);
  second.json(resumeLogin(resume, 0, await second.message()));
  second.seesAcks = true;
  expect(await second.message()).toMatchObject({ resumed: true, received: 2 });
  expect(await control(second, "ack")).toMatchObject({ received: 1 });
  await open(serving.port);
  expect(await control(second, "ack")).toMatchObject({ received: 2 });
});

const COUNT = 60;
const SIZE = 64 * 1024;
/** Says more than a kernel takes, as soon as another client says "open". */
const MUCH = `
const gate = Promise.withResolvers();
export default { async message(session, message) {
  if (message.text() === "open") return gate.resolve();
  await gate.promise;
  for (let n = 0; n < ${COUNT}; n++) session.send(Buffer.alloc(${SIZE}, n + " "));
} };`;

test("what is sent again is no backlog, however small --max-backlog is", async () => {
  await using serving = await server(["--max-frame", `${SIZE}`, "--max-backlog", "64kb"], MUCH);
  const { peer: first, resume } = await enter(serving.port);
  first.send("go");
  first.reset();
  await serving.logged("lost");
  await open(serving.port);
  using second = await Peer.connect(serving.port);
  const hello = await second.message();
  second.socket.pause();
  second.json(resumeLogin(resume, 0, hello));
  await serving.logged("resumed");
  second.socket.resume();
  expect(await second.message()).toMatchObject({ resumed: true });
  const numbers = (await payloads(second, COUNT)).map((text) => Number(text.split(" ")[0]));
  expect(numbers).toEqual(Array.from({ length: COUNT }, (_, n) => n));
});

const FINISHES = "export default { message(session) { session.finish(); } };";

test("a session that said all it had, and whose `bye` was lost, has ended as done", async () => {
  await using serving = await server(["--resume-for", "50ms"], FINISHES);
  const { peer } = await enter(serving.port);
  peer.send("go");
  await control(peer, "bye");
  peer.reset();
  await serving.logged("disconnected", "bye=done");
});

describe("a session that its client has left is gone at once, while that connection is still open:", () => {
  test.each(["after the server's bye", "before it"])("%s", async (when) => {
    await using serving = await server([], FINISHES);
    const { peer, resume } = await enter(serving.port);
    using _ = peer;
    peer.answersFin = false;
    if (when.startsWith("after")) {
      peer.send("go");
      await control(peer, "bye");
    }
    peer.control({ type: "bye", code: "left", message: "" });
    const [other, answer] = await reconnect(serving.port, resume, 0);
    using __ = other;
    expect(answer).toMatchObject({ type: "refused", code: "session_gone" });
  });
});

test("a session that was revoked is gone at once, although its client reads nothing", async () => {
  using folder = tempFolder();
  await addUser(folder.path);
  await using serving = await serve(["--no-tls"], { data: folder.path });
  using peer = await Peer.connect(serving.port);
  const resume = resumeOf(await peer.logIn("ann", PASSWORD, DURABLE));
  expect((await run(["users", "disable", "ann"], { data: folder.path })).exitCode).toBe(0);
  await control(peer, "bye");
  const [other, answer] = await reconnect(serving.port, resume, 0);
  using _ = other;
  expect(answer).toMatchObject({ type: "refused", code: "session_gone" });
});
