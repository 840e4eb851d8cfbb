// A roster lists each object once, and may change while it is iterated.

import { expect, test } from "bun:test";
import { Roster, type Listed } from "../../src/base/roster.ts";

interface Named extends Listed {
  name: string;
}

const named = (name: string): Named => ({ name, place: -1 });
const names = (roster: Roster<Named>) => [...roster].map(({ name }) => name).sort();

test("what is deleted is not in it, and what comes later takes its place", () => {
  const roster = new Roster<Named>();
  const [a, b, c] = [named("a"), named("b"), named("c")];
  for (const each of [a, b, c]) roster.add(each);
  roster.delete(b);
  expect([roster.size, names(roster)]).toEqual([2, ["a", "c"]]);
  const d = named("d");
  roster.add(d);
  expect([roster.size, names(roster), d.place]).toEqual([3, ["a", "c", "d"], 1]);
});

test("deleting what is not in it does nothing, also when another object has its place", () => {
  const roster = new Roster<Named>();
  const [a, b] = [named("a"), named("b")];
  roster.delete(a);
  roster.add(a);
  roster.delete(a);
  roster.delete(a);
  roster.add(b);
  roster.delete(a);
  expect([roster.size, names(roster)]).toEqual([1, ["b"]]);
  roster.add(a);
  expect([roster.size, names(roster)]).toEqual([2, ["a", "b"]]);
});

test("all are visited while each deletes itself or the next one", () => {
  const roster = new Roster<Named>();
  const all = ["a", "b", "c", "d"].map(named);
  for (const each of all) roster.add(each);
  const visited: string[] = [];
  for (const each of roster) {
    visited.push(each.name);
    roster.delete(each);
    if (each.name === "b") roster.delete(all[2]!);
  }
  expect([visited, roster.size]).toEqual([["a", "b", "d"], 0]);
  roster.add(all[3]!);
  expect([roster.size, names(roster), all[3]!.place]).toEqual([1, ["d"], 0]);
});
