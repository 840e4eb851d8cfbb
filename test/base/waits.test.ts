import { expect, test } from "bun:test";
import { Waits } from "../../src/base/waits.ts";

test("a wait ends at the check that finds its condition met, and others go on", async () => {
  const waits = new Waits();
  let value = 0;
  const deadline = performance.now() + 600_000;
  const settled: string[] = [];
  const wait = (least: number) =>
    waits.until(() => value >= least, deadline).then((isMet) => settled.push(`${least} ${isMet}`));
  await wait(0);
  const both = [wait(2), wait(1)];
  waits.check();
  value = 1;
  waits.check();
  await both[1];
  expect(settled).toEqual(["0 true", "1 true"]);
  value = 2;
  waits.check();
  await both[0];
  expect(settled).toEqual(["0 true", "1 true", "2 true"]);
});

test("a wait ends with false at its deadline, and asks no more", async () => {
  const waits = new Waits();
  let asked = 0;
  const isMet = () => {
    asked++;
    return false;
  };
  expect(await waits.until(isMet, performance.now() - 1)).toBe(false);
  waits.check();
  expect(asked).toBe(1);
});
