// The log of `serve --check`: it finds out whether the log could be written, and leaves no line in it.

import { existsSync } from "node:fs";
import { removeIfThere } from "../files/atomic-write.ts";
import { isSpecial } from "../files/private-file.ts";
import { Rights } from "../os/rights.ts";
import { openLog, type LogFile, type LogFileOptions } from "./log.ts";

/** Opens a log beside `options.path`, which `close` removes. @throws {FileError} as {@link openLog}, for either file. */
export function openTrialLog(options: LogFileOptions): LogFile {
  const { path } = options;
  if (isSpecial(path)) return openLog(options);
  if (existsSync(path)) openLog(options).close();
  const beside = `${path}.check-${process.pid}`;
  const log = openLog({ ...options, path: beside });
  const close = log.close.bind(log);
  log.close = () => {
    close();
    Rights.over(beside).use(() => removeIfThere(beside));
  };
  return log;
}
