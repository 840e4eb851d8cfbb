// parley users log: who tried to get in, out of the log of the server.

import { defineCommand } from "citty";
import { ParleyError, usageError } from "../../base/errors.ts";
import { plural } from "../../base/plural.ts";
import { FileError } from "../../files/file-error.ts";
import { LogFiles } from "../../log/log-files.ts";
import { parseLogLine } from "../../log/log-line.ts";
import { isRefusal, Refusals } from "../../log/refusals.ts";
import { about, commonFlags, inGroup, type FlagsDef } from "../parse.ts";
import { jsonFlag, UsersContext } from "./context.ts";

export const log = defineCommand({
  meta: about({
    name: "log",
    description: "list refused logins, refused keys and penalties by address",
    examples: [
      ["parley users log", "of the log in the data folder"],
      ["parley users log --log /var/log/parley.log", "of another log"],
    ],
    rules: { apart: { log: ["data"] } },
  }),
  args: {
    ...inGroup("Options", {
      log: {
        type: "string",
        valueHint: "FILE",
        description: "log file; rotated files are read, too (default parley.log in the data folder)",
      },
    }),
    ...jsonFlag,
    ...commonFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    await using context = new UsersContext<"log">(args);
    const given = context.flags.text("log");
    const path = given ?? context.log;
    using files = openFiles(path, given !== undefined);
    const refusals = new Refusals();
    let good = 0;
    let bad = 0;
    for await (const lines of files.lines()) {
      for (const text of lines) {
        const line = parseLogLine(text, isRefusal);
        if (line === undefined) {
          bad++;
          continue;
        }
        good++;
        refusals.add(line);
      }
    }
    if (good === 0 && bad > 0) {
      throw new ParleyError("failed", `${path} is not a parley log`, {
        hint: "name the server's log with --log FILE; from a journal, export it with: journalctl -o cat",
      });
    }
    await context.printTable(refusals.rows(), "no refusals");
    if (bad > 0) context.terminal.say(`skipped ${plural(bad, "line")} not written by parley`);
    for (const file of files.unsupported) context.terminal.say(`skipped ${file}: only gzip is supported`);
    const [failure] = files.failures;
    if (failure !== undefined) {
      throw new ParleyError("failed", failure, { hint: "the list has only what was read before" });
    }
  },
});

function openFiles(path: string, isGiven: boolean): LogFiles {
  try {
    return LogFiles.open(path);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    if (isGiven) throw usageError(`--log: ${error.message}`, error.hint);
    throw new ParleyError("failed", error.message, {
      hint: "name the server's log with --log FILE",
      cause: error,
    });
  }
}
