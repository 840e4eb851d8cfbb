// The log of `serve --check`: it finds out whether the log could be written, and leaves no line in it.

import { accessSync, constants, existsSync } from "node:fs";
import { devNull } from "node:os";
import { dirname } from "node:path";
import { systemCode } from "../base/errors.ts";
import { removeIfThere } from "../files/atomic-write.ts";
import { isSpecial } from "../files/private-file.ts";
import { Rights } from "../os/rights.ts";
import { openLog, type LogFile, type LogFileOptions } from "./log.ts";

/**
 * Opens a log beside `options.path`, which `close` removes. Where a log exists in a folder that takes no new file, as in /var/log,
 * its lines are dropped.
 *
 * @throws {FileError} as {@link openLog}, for either file.
 */
export function openTrialLog(options: LogFileOptions): LogFile {
  const { path } = options;
  if (isSpecial(path)) return openLog(options);
  if (existsSync(path)) {
    openLog(options).close();
    if (!mayCreateIn(dirname(path))) return openLog({ ...options, path: devNull });
  }
  const beside = `${path}.check-${process.pid}`;
  const log = openLog({ ...options, path: beside });
  const close = log.close.bind(log);
  log.close = () => {
    close();
    Rights.over(beside).use(() => removeIfThere(beside));
  };
  return log;
}

function mayCreateIn(folder: string): boolean {
  try {
    Rights.within(folder).use(() => accessSync(folder, constants.W_OK | constants.X_OK));
    return true;
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return false;
  }
}
