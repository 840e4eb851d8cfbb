// parley users log: who tried to get in, out of the log of the server.

import { defineCommand } from "citty";
import { ParleyError, usageError } from "../../base/errors.ts";
import { plural } from "../../base/plural.ts";
import { FileError } from "../../files/file-error.ts";
import { LogFiles } from "../../log/log-files.ts";
import { parseLogLine } from "../../log/log-line.ts";
import { isRefusal, Refusals } from "../../log/refusals.ts";
import type { FlagsDef } from "../parse.ts";
import { UsersContext, usersFlags } from "./context.ts";

export const log = defineCommand({
  meta: { name: "log", description: "list who tried to get in: refused logins and keys, and penalties" },
  args: {
    log: {
      type: "string",
      valueHint: "FILE",
      description: "the server's log, with its rotated files (parley.log in the data folder)",
    },
    ...usersFlags,
  } satisfies FlagsDef,
  async run({ args }) {
    const context = new UsersContext<"log">(args);
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
      throw new ParleyError("failed", `${path} is no log of parley`, {
        hint: "name the file that the server has with --log FILE; a journal without what it adds: journalctl -o cat",
      });
    }
    await context.printTable(refusals.rows(), "there are no refusals");
    if (bad > 0)
      context.terminal.say(
        `${plural(bad, "line")} could not be read, and ${bad === 1 ? "is" : "are"} not counted`,
      );
    for (const file of files.unsupported) context.terminal.say(`${file} is not read: only gzip is`);
    const [failure] = files.failures;
    if (failure !== undefined) {
      throw new ParleyError("failed", failure, { hint: "what was read before that is counted" });
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
      hint: "name the file that the server has with --log FILE",
      cause: error,
    });
  }
}
