// Three connections that log in with their own right password without end, while a stranger wants in with a password.

import { PASSWORD } from "../executable.ts";
import { logIn, quantile } from "./client.ts";
import { target, type Figure } from "./target.ts";

const ATTACKERS = ["127.0.0.2", "127.0.0.2", "127.0.0.4"];

/** @param strangers how many log in, one after the other, each from an address of its own. */
export async function ownLogins(strangers: number): Promise<Figure[]> {
  const attack = `${ATTACKERS.length} own logins in a loop`;
  await using server = await target([]);
  let isOver = false;
  const begun = ATTACKERS.map(() => Promise.withResolvers<void>());
  const loops = ATTACKERS.map(async (from, index) => {
    while (!isOver) {
      const { client } = await logIn(server.port, from, { password: PASSWORD });
      client[Symbol.dispose]();
      begun[index]?.resolve();
    }
  });
  await Promise.race([Promise.all(begun.map(({ promise }) => promise)), Promise.all(loops)]);
  const times: number[] = [];
  try {
    for (let index = 0; index < strangers; index++) {
      const { ms, client } = await logIn(server.port, `127.0.1.${1 + index}`, { password: PASSWORD });
      client[Symbol.dispose]();
      times.push(ms);
    }
  } finally {
    isOver = true;
    await Promise.all(loops);
  }
  return [
    { attack, what: "a stranger's password login, median", value: quantile(times, 0.5), unit: "ms" },
    { attack, what: "… longest", value: Math.max(...times), unit: "ms", target: 5000 },
  ];
}
