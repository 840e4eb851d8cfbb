// The page of a course's tasks is there in three languages: the same tasks in the same order, with the same commands and files,
// and what it shows of the clients is their real code.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { fileNameOf, readPages, ROOT } from "./markdown.ts";

const pages = readPages().filter(({ path }) => /^docs\/labs\.(?:\w+\.)?md$/.test(path));

/** The number of a block's task, its language and its text. */
function blocksOf(path: string): string[] {
  const page = pages.find((one) => one.path === path);
  return (page?.blocks ?? []).map(({ section, language, text }) => {
    const task = /^\d+/.exec(section)?.[0] ?? "";
    return [task, language, language === "" ? "a picture" : text].join("\n");
  });
}

function numbersIn(path: string): string[] {
  const text = readFileSync(join(ROOT, path), "utf8");
  return [...text.matchAll(/^(?:## )?(\d+)\. /gm)].map(([, number = ""]) => number);
}

test("there are three pages", () => {
  expect(pages.map(({ path }) => path)).toEqual(["docs/labs.md", "docs/labs.ru.md", "docs/labs.zh.md"]);
});

test.each(["docs/labs.ru.md", "docs/labs.zh.md"])(
  "%s has the tasks and the commands of docs/labs.md",
  (path) => {
    expect(blocksOf("docs/labs.md").length).toBeGreaterThan(50);
    expect(blocksOf(path)).toEqual(blocksOf("docs/labs.md"));
    expect(numbersIn(path)).toEqual(numbersIn("docs/labs.md"));
  },
);

test.each([
  ["python", "clients/python/parley.py"],
  ["ts", "clients/typescript/parley.ts"],
])("the code of a client in %s that the page shows is in %s", (language, path) => {
  const client = readFileSync(join(ROOT, path), "utf8");
  const shown = pages
    .flatMap(({ blocks }) => blocks)
    .filter((block) => block.language === language && fileNameOf(block) === undefined);
  expect(shown).toHaveLength(pages.length);
  for (const { text } of shown) expect(client).toContain(text);
});
