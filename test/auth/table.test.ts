// A table and a draft of it act like a Map, and their groups hold what a search would find.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { Table, TableDraft, type Records } from "../../src/auth/table.ts";

interface Entry {
  group: string;
  value: number;
}
const GROUPS = ["", "a", "b"];
const key = fc.constantFrom("k", "l", "m", "constructor", "__proto__");
const entry = fc.record({ group: fc.constantFrom(...GROUPS), value: fc.nat() });
const step = fc.tuple(key, fc.option(entry));
const steps = fc.array(step, { maxLength: 30 });
const groupOf = ({ group }: Entry) => group || undefined;

function run(
  records: Pick<Records<Entry>, "set" | "delete">,
  made: readonly [string, Entry | null][],
): boolean[] {
  return made.flatMap(([name, value]) => {
    if (value === null) return records.delete(name);
    records.set(name, value);
    return [];
  });
}

function expectSame(records: Records<Entry>, model: Map<string, Entry>): void {
  const sorted = (entries: Iterable<[string, Entry]>) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  expect(sorted(records)).toEqual(sorted(model));
  expect([...records.keys()].sort()).toEqual([...model.keys()].sort());
  expect([...records.values()]).toEqual([...records].map(([, value]) => value));
  expect(records.size).toBe(model.size);
  for (const name of ["k", "constructor", "toString"]) {
    expect([records.has(name), records.get(name)]).toEqual([model.has(name), model.get(name)]);
  }
  for (const group of ["a", "b"]) {
    const found = [...model].flatMap(([name, value]) => (value.group === group ? name : []));
    expect(records.inGroup(group).sort()).toEqual(found.sort());
    expect(records.groupSize(group)).toBe(found.length);
  }
}

test("whatever is done to them, a draft reads as its own changes, and a table changes when it is applied", () => {
  fc.assert(
    fc.property(steps, steps, (before, after) => {
      const table = new Table(groupOf);
      const model = new Map<string, Entry>();
      expect(run(table, before)).toEqual(run(model, before));
      expectSame(table, model);
      const old = new Map(model);
      const draft = new TableDraft(table);
      expect(run(draft, after)).toEqual(run(model, after));
      expectSame(draft, model);
      expectSame(table, old);
      draft.apply();
      expectSame(table, model);
      const groups = new Set([...model.values()].flatMap((value) => groupOf(value) ?? []));
      expect(new Set(table.groups())).toEqual(groups);
    }),
    { numRuns: 500 },
  );
});

test("a draft may delete what it goes through", () => {
  const table = new Table(groupOf);
  for (const name of ["k", "l"]) table.set(name, { group: "a", value: 1 });
  const draft = new TableDraft(table);
  for (const name of ["m", "n"]) draft.set(name, { group: "a", value: 2 });
  const seen: string[] = [];
  for (const [name] of draft) {
    seen.push(name);
    draft.delete(name);
  }
  expect([seen, [...draft]]).toEqual([["k", "l", "m", "n"], []]);
});
