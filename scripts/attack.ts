// What attacks cost a server and those it serves, measured against the executable.
//
//     bun scripts/build.ts && bun scripts/attack.ts [NAME|all]
//
// A Markdown table on stdout; what is over its target is marked, and makes the exit code 1.

import { chatFlood } from "../test/support/attack/chat.ts";
import { burst } from "../test/support/attack/burst.ts";
import { flood } from "../test/support/attack/flood.ts";
import { detached, unfinished, unread } from "../test/support/attack/memory.ts";
import { hosts } from "../test/support/attack/hosts.ts";
import { ALL_ADDRESSES, logGrowth, ONE_ADDRESS } from "../test/support/attack/log.ts";
import { hastyDials, unreadClient, unreadForwarder } from "../test/support/attack/hostile-server.ts";
import { fewDescriptors, leftBehind, unreadInput, unreadTerminal } from "../test/support/attack/programs.ts";
import { glutton, mute } from "../test/support/attack/reader.ts";
import { soak } from "../test/support/attack/soak.ts";
import { health } from "../test/support/attack/health.ts";
import { ownLogins } from "../test/support/attack/own-logins.ts";
import { silent } from "../test/support/attack/silent.ts";
import type { Figure } from "../test/support/attack/target.ts";
import { timing } from "../test/support/attack/timing.ts";
import { wrongTokens } from "../test/support/attack/wrong-tokens.ts";

const FLOOD = { logins: 9, roundTrips: 2000 };
/** Of each name. */
const TRIES = 200;
/** How long each way to fill the log is tried. */
const LOG_MS = 3000;
/** New addresses that are greeted, more than are remembered. */
const HOSTS = 11_000;
const ATTACKS: Readonly<Record<string, (() => Promise<Figure[]>)[]>> = {
  flood: [
    () => flood({ ...FLOOD, guesses: 64, addresses: 1, lifted: false }),
    () => flood({ ...FLOOD, guesses: 64, addresses: 1, lifted: true }),
    () => flood({ ...FLOOD, guesses: 64, addresses: 64, lifted: false }),
  ],
  silent: [() => silent(1), () => silent(8)],
  reader: [glutton, mute],
  memory: [() => unread(), () => unfinished(), () => detached()],
  chat: [() => chatFlood()],
  soak: [() => soak()],
  "own-logins": [() => ownLogins(10)],
  "wrong-tokens": [() => wrongTokens(48)],
  burst: [burst],
  health: [health],
  log: [() => logGrowth(ONE_ADDRESS, LOG_MS), () => logGrowth(ALL_ADDRESSES, LOG_MS)],
  hosts: [() => hosts(HOSTS)],
  "hostile-server": [unreadClient, hastyDials],
  forward: [() => unreadForwarder()],
  timing: [() => timing(TRIES), () => timing(TRIES, ["--hash-memory", "8mb", "--hash-time", "1"])],
  pty: [unreadTerminal, unreadInput],
  descriptors: [
    () => fewDescriptors([], false),
    () => fewDescriptors([], true),
    () => fewDescriptors(["--pty"], false),
  ],
  orphans: [leftBehind],
};

function row({ attack, what, value, unit, target }: Figure): string {
  const shown = `${value < 100 ? value.toPrecision(3) : Math.round(value)} ${unit}`.trim();
  const limit = target === undefined ? "" : `< ${target} ${unit}${value < target ? "" : " **missed**"}`;
  return `| ${attack} | ${what} | ${shown} | ${limit} |\n`;
}

const wanted = process.argv[2] ?? "all";
const chosen = wanted === "all" ? Object.values(ATTACKS).flat() : ATTACKS[wanted];
if (chosen === undefined) throw new Error(`no attack ${wanted}: ${Object.keys(ATTACKS).join(", ")} or all`);
process.stdout.write("| attack | what | measured | target |\n| --- | --- | ---: | --- |\n");
for (const measure of chosen) {
  for (const figure of await measure()) {
    process.stdout.write(row(figure));
    if (figure.target !== undefined && !(figure.value < figure.target)) process.exitCode = 1;
  }
}
