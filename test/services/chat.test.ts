// The chat: who is here under which name, what all hear in one order, and that nobody costs or imitates another.

import { copyFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { chat } from "../../src/services/chat.ts";
import { Handler } from "../../src/services/handler/handler.ts";
import { within } from "../support/attack.ts";
import { tempFolder } from "../support/folder.ts";
import { frame, Peer } from "../support/peer.ts";
import { PASSWORD, startServer, type TestServer } from "../support/server.ts";

setDefaultTimeout(90_000);

const open = () => startServer({ auth: "none", service: chat(), serviceName: "chat" });

/** A guest, and everything heard up to the list of who is here. */
async function join(server: TestServer): Promise<{ peer: Peer; heard: string[] }> {
  const peer = await server.peer();
  await peer.enter();
  return { peer, heard: await upTo(peer, /^\* here: /) };
}

async function upTo(peer: Peer, wanted: RegExp): Promise<string[]> {
  const heard: string[] = [];
  for (;;) {
    const text = await within(String(wanted), peer.text());
    if (text === null) throw new Error(`it ended without ${String(wanted)}: ${JSON.stringify(heard)}`);
    heard.push(text);
    if (wanted.test(text)) return heard;
  }
}

test("guests are numbered, told who is here, and announced to the others, who hear when they leave", async () => {
  await using server = await open();
  const { peer: ann, heard } = await join(server);
  expect(heard).toEqual(["* guest-1 joined", "* here: guest-1"]);
  const { peer: bob } = await join(server);
  expect(await upTo(ann, /joined/)).toEqual(["* guest-2 joined"]);
  ann.send("hello");
  expect(await bob.text()).toBe("guest-1: hello");
  expect(await ann.text()).toBe("guest-1: hello");
  bob.control({ type: "end" });
  expect(await ann.text()).toBe("* guest-2 left");
  for (const peer of [ann, bob]) peer[Symbol.dispose]();
});

test("one user in two conversations is one: joined and left are said once", async () => {
  await using server = await startServer({ service: chat(), serviceName: "chat" });
  using first = await server.peer();
  using second = await server.peer();
  for (const peer of [first, second]) {
    await peer.logIn("ann", PASSWORD, { control: true });
    expect((await upTo(peer, /here/)).at(-1)).toBe("* here: ann");
  }
  second.send("/name bob");
  expect(await second.text()).toBe("* you cannot change your name: it is the name of your login");
  second.control({ type: "end" });
  expect((await second.rest()).length).toBe(1);
  first.send("alone");
  expect(await first.text()).toBe("ann: alone");
});

test("/name: taken in whatever case, invalid, invisible; a new one is told to all", async () => {
  await using server = await open();
  const { peer: ann } = await join(server);
  const { peer: bob } = await join(server);
  await ann.text();
  ann.send("/name Ann");
  expect([await ann.text(), await bob.text()]).toEqual(Array(2).fill("* guest-1 is now Ann"));
  for (const taken of ["Ann", "ann", "ANN", "Ａｎｎ"]) {
    bob.send(`/name ${taken}`);
    expect(await bob.text()).toMatch(/^\* the name .+ is taken$/);
  }
  for (const bad of ["a b", "*", "a:b", "-a", "x".repeat(33), "a\u200bb", "\u115f", "Ann\u00ad"]) {
    bob.send(`/name ${bad}`);
    expect([bad, await bob.text()]).toEqual([bad, expect.stringMatching(/^\* a name has/) as string]);
  }
  ann.send("/name ann"); // one's own, written otherwise
  expect(await ann.text()).toBe("* Ann is now ann");
  for (const peer of [ann, bob]) peer[Symbol.dispose]();
});

test("nobody gets a name that somebody else has taken meanwhile", async () => {
  await using server = await open();
  const { peer: ann } = await join(server);
  ann.send("/name guest-2");
  await ann.text();
  const { peer: bob, heard } = await join(server);
  expect(heard.at(-1)).not.toBe("* here: guest-2");
  for (const peer of [ann, bob]) peer[Symbol.dispose]();
});

test("/msg reaches the one it names, in whatever case, and nobody else; /who says who is here", async () => {
  await using server = await open();
  const { peer: ann } = await join(server);
  const { peer: bob } = await join(server);
  const { peer: eve } = await join(server);
  await upTo(ann, /guest-3 joined/);
  await upTo(bob, /guest-3 joined/);
  ann.send("/msg GUEST-2 a secret: x");
  expect([await ann.text(), await bob.text()]).toEqual(Array(2).fill("guest-1 → guest-2: a secret: x"));
  ann.send("/msg nobody x");
  expect(await ann.text()).toBe("* nobody is not here; /who lists the names");
  eve.send("/who");
  expect(await eve.text()).toBe("* here: guest-1, guest-2, guest-3");
  const { peer: late, heard } = await join(server);
  expect(heard.join()).not.toContain("secret");
  for (const peer of [ann, bob, eve, late]) peer[Symbol.dispose]();
});

test("a line that begins with two slashes is said with one; with one it is a command, and never said", async () => {
  await using server = await open();
  const { peer: ann } = await join(server);
  const { peer: bob } = await join(server);
  await ann.text();
  ann.send("/shrug");
  expect(await ann.text()).toBe("* commands: /who, /msg NAME TEXT, /name NAME; //x sends /x");
  for (const [line, said] of [
    ["//who", "/who"],
    ["///", "//"],
    ["a //b", "a //b"],
  ]) {
    ann.send(String(line));
    expect([await ann.text(), await bob.text()]).toEqual(Array(2).fill(`guest-1: ${said}`));
  }
  for (const peer of [ann, bob]) peer[Symbol.dispose]();
});

test("a newcomer hears the last 50 lines, never more", async () => {
  await using server = await open();
  const { peer: ann } = await join(server);
  for (let i = 0; i < 200; i++) ann.send(`line ${i}`);
  await upTo(ann, /line 199/);
  const { peer: bob, heard } = await join(server);
  expect(heard.slice(0, -2)).toEqual(Array.from({ length: 50 }, (_, i) => `guest-1: line ${150 + i}`));
  for (const peer of [ann, bob]) peer[Symbol.dispose]();
});

test.each(["\n", "\r", "\r\n", "\v", "\f", "\u0085", "\u2028", "\u2029"])(
  "a line break %j forges no speaker: each line is the speaker's own",
  async (end) => {
    await using server = await open();
    const { peer } = await join(server);
    peer.send(`hi${end}bob: I am bob${end}${end}* bob left`);
    const heard = [await peer.text(), await peer.text(), await peer.text()];
    expect(heard).toEqual(["guest-1: hi", "guest-1: bob: I am bob", "guest-1: * bob left"]);
    peer[Symbol.dispose]();
  },
);

test("what is no text ends the conversation, what is too long is not said", async () => {
  await using server = await open();
  const { peer: ann } = await join(server);
  const { peer: bob } = await join(server);
  await ann.text();
  ann.send("x".repeat(4001));
  expect(await ann.text()).toBe("* not sent: longer than 4000 characters");
  bob.send(Buffer.from("ff", "hex"));
  expect((await bob.rest()).at(-1)?.payload.toString()).toContain("bad_message");
  expect(await ann.text()).toBe("* guest-2 left");
  ann[Symbol.dispose]();
  bob[Symbol.dispose]();
});

test("all hear the same in the same order, the speakers too", async () => {
  await using server = await open();
  const peers: Peer[] = [];
  for (let i = 0; i < 5; i++) peers.push((await join(server)).peer);
  for (let i = 0; i < 100; i++) for (const [index, peer] of peers.entries()) peer.send(`${index} ${i}`);
  const heard = await Promise.all(
    peers.map(async (peer) => {
      const lines: string[] = [];
      while (lines.length < 500) {
        const text = (await within("a line", peer.text())) ?? "";
        if (!text.startsWith("*")) lines.push(text);
      }
      return lines;
    }),
  );
  for (const lines of heard) expect(lines).toEqual(heard[0] as string[]);
  for (const peer of peers) peer[Symbol.dispose]();
});

test("a speaker who floods costs no member that reads its place", async () => {
  await using server = await open();
  const members: Peer[] = [];
  for (let i = 0; i < 10; i++) members.push((await join(server)).peer);
  const { peer: loud } = await join(server);
  const flood = frame("a\n".repeat(2000));
  for (let i = 0; i < 256; i++) loud.raw(flood);
  loud.send("the last");
  await Promise.all(members.map((member) => upTo(member, /the last$/)));
  expect(server.events.filter(({ event }) => event === "dropped")).toEqual([]);
  for (const peer of [...members, loud]) peer[Symbol.dispose]();
}, 120_000);

describe("a member who says much at once", () => {
  /** Over both reserves: of lines, and of bytes. */
  const LINES = 230;

  test("is heard whole, slowly, and is told so once", async () => {
    await using server = await open();
    const { peer: loud } = await join(server);
    const { peer: other } = await join(server);
    for (let n = 0; n < LINES; n++) loud.send(`line ${n}`);
    const heard: string[] = [];
    while (heard.at(-1) !== `guest-1: line ${LINES - 1}`)
      heard.push((await within("a line", other.text())) ?? "");
    const said = heard.filter((line) => line.includes("line "));
    expect(said).toEqual(Array.from({ length: LINES }, (_, n) => `guest-1: line ${n}`));
    const own = await upTo(loud, new RegExp(`line ${LINES - 1}$`));
    expect(own.filter((line) => line.startsWith("* you send too fast"))).toHaveLength(1);
    for (const peer of [loud, other]) peer[Symbol.dispose]();
  });

  test("keeps no other address waiting, and leaves at once", async () => {
    await using server = await open();
    const loud = await Peer.connect(server.port, "127.0.0.2");
    await loud.enter();
    const { peer: other } = await join(server);
    for (let n = 0; n < 2000; n++) loud.send("x".repeat(100));
    await upTo(other, /xxx$/);
    other.send("am I heard?");
    await upTo(other, /am I heard\?$/);
    loud.control({ type: "bye", code: "left", message: "" });
    loud.reset();
    await upTo(other, /guest-1 left$/);
    other[Symbol.dispose]();
  });
});

test("a copy of its file is a handler, which does the same", async () => {
  using folder = tempFolder();
  const copy = joinPath(folder.path, "talk.ts");
  copyFileSync(joinPath(import.meta.dir, "../../src/services/chat.ts"), copy);
  await using server = await startServer({
    auth: "none",
    service: await Handler.load(copy),
    serviceName: "talk",
  });
  using peer = await server.peer();
  await peer.enter();
  expect([await peer.text(), await peer.text()]).toEqual(["* guest-1 joined", "* here: guest-1"]);
  peer.send("hello");
  expect(await peer.text()).toBe("guest-1: hello");
  peer.send("/who");
  expect(await peer.text()).toBe("* here: guest-1");
});
