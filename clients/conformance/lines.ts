// The lines of a stream. node:readline would also end a line at U+2028, which JSON has inside of strings.

import type { Readable } from "node:stream";

/** Each line of `stream`, without its end. */
export async function* linesOf(stream: Readable): AsyncGenerator<string> {
  stream.setEncoding("utf8");
  let rest = "";
  for await (const chunk of stream as AsyncIterable<string>) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}
