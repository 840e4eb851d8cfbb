// What programs may cost the server: memory for what is not read, descriptors, and what they leave behind.

import { expect, setDefaultTimeout, test } from "bun:test";
import { fewDescriptors, leftBehind, unreadInput, unreadTerminal } from "../support/attack/programs.ts";
import { FEW_DESCRIPTORS, target, type Figure } from "../support/attack/target.ts";
import { Peer } from "../support/peer.ts";
import { DURABLE, reconnect, resumeOf, type Json } from "../support/resume.ts";

setDefaultTimeout(90_000);

const MIB = 1024 * 1024;

/** Every figure with a target is below it. */
function expectBelowTargets(figures: readonly Figure[]): void {
  expect(figures.filter(({ value, target }) => target !== undefined && !(value < target))).toEqual([]);
}

test("a terminal that is not read is held, without XON and XOFF and in raw mode too", async () => {
  const figures = await unreadTerminal();
  expectBelowTargets(figures);
  const written = figures.filter(({ what }) => what === "written by the program");
  for (const { value } of written) expect(value).toBeLessThan(16); // what the client's kernel takes, above all
});

test("input for a program that does not read it stays with the client", async () => {
  const figures = await unreadInput(64 * MIB);
  expectBelowTargets(figures);
  const left = figures.filter(({ what }) => what.startsWith("not even taken"));
  for (const { value } of left) expect(value).toBeGreaterThan(48);
});

test.each<[flags: string[], detached: boolean]>([
  [[], false],
  [[], true],
  [["--pty"], false],
])(
  "who comes when descriptors are short is told full, and when to come back: %j, detached: %p",
  async (flags, detached) => {
    const figures = await fewDescriptors(flags, detached, 10);
    expectBelowTargets(figures);
    expect(figures.find(({ what }) => what === "programs that run")?.value).toBeGreaterThan(20);
  },
);

test("who comes back to a session has a place, also when there is none for a newcomer", async () => {
  await using server = await target(["--auth", "none", "--", "cat"], FEW_DESCRIPTORS);
  const newcomer = async () => {
    using peer = await Peer.connect(server.port);
    const answer = await peer.enter(DURABLE);
    peer.reset();
    return answer;
  };
  const inside: Json[] = [];
  for (;;) {
    const answer = await newcomer();
    if (answer["type"] !== "welcome") break;
    inside.push(answer);
  }
  const back: Peer[] = [];
  for (const welcome of inside) {
    const [peer, answer] = await reconnect(server.port, resumeOf(welcome), 0);
    expect(answer["type"]).toBe("welcome");
    back.push(peer);
  }
  expect(await newcomer()).toMatchObject({ type: "error", code: "full", retry_after: 5 });
  for (const peer of back) peer.reset();
});

test("what has called setsid ends with its conversation, and keeps no descriptor", async () => {
  expectBelowTargets(await leftBehind(4));
});
