// Who was refused, out of the lines of a log.

import { expect, test } from "bun:test";
import { MAX_LOG_ADDRESSES } from "../../src/base/limits.ts";
import { Refusals } from "../../src/log/refusals.ts";

const TIME = "2026-11-26T10:00:00.000Z";
const add = (refusals: Refusals, event: string, fields: Record<string, unknown>, time = TIME) =>
  refusals.add({ time, event, fields });

test("what counts: refused logins and keys, and penalties; nothing that is not the client's fault", () => {
  const refusals = new Refusals();
  const peer = "192.0.2.1:5";
  for (const code of ["bad_credentials", "token_refused", "name_taken", "disabled"])
    add(refusals, "login-refused", { peer, code, user: "ann" });
  for (const code of ["session_gone", "busy", "full", "unavailable"])
    add(refusals, "login-refused", { peer, code });
  add(refusals, "key-refused", { peer });
  add(refusals, "refused", { peer, code: "penalised" });
  add(refusals, "refused", { peer, code: "full" });
  expect(refusals.rows()).toEqual([
    {
      address: "192.0.2.1",
      count: 6,
      logins: 4,
      keys: 1,
      penalised: 1,
      first: TIME,
      last: TIME,
      names: ["ann"],
    },
  ]);
});

test("a summary counts as what it stands for, an IPv6 network is one, and files may come in any order", () => {
  const refusals = new Refusals();
  const at = (second: number) => `2026-11-26T10:00:0${second}.000Z`;
  add(
    refusals,
    "login-refused",
    { similar: "57", source: "2001:db8:0:0::/64", code: "bad_credentials" },
    at(5),
  );
  add(refusals, "login-refused", { peer: "[2001:db8::7]:5", code: "bad_credentials" }, at(3));
  add(refusals, "key-refused", { similar: 12, sources: 3 }, at(4));
  expect(refusals.rows().map(({ address, count, first, last }) => [address, count, first, last])).toEqual([
    ["2001:db8:0:0::/64", 58, at(3), at(5)],
    [null, 12, at(4), at(4)],
  ]);
});

test("addresses beyond the limit are one row, and none of them is lost", () => {
  const refusals = new Refusals();
  for (let n = 0; n < MAX_LOG_ADDRESSES + 5; n++) {
    add(refusals, "key-refused", { peer: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}:5` });
  }
  const [first, ...others] = refusals.rows();
  expect(first).toMatchObject({ address: null, count: 5 });
  expect(others).toHaveLength(MAX_LOG_ADDRESSES);
});
