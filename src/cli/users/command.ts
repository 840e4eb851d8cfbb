// parley users: the accounts, tokens and known addresses of a server, whether it runs or not.
//
// Each command reads users.json or changes it once; a running server notices within a second.

import { defineCommand } from "citty";
import { add, disable, enable, list, passwd, remove, tag } from "./accounts.ts";
import { log } from "./log.ts";
import { hosts, revoke, sessions } from "./sessions.ts";
import { about } from "../parse.ts";
import { exportUsers, importUsers } from "./import-export.ts";

export default defineCommand({
  meta: about({
    name: "users",
    description: "manage accounts, sessions and known addresses",
    examples: [
      ["parley users add ann", "create an account"],
      ["parley users list", "list the accounts"],
      ["parley users passwd ann", "change a password"],
    ],
  }),
  subCommands: {
    add,
    passwd,
    remove,
    disable,
    enable,
    tag,
    list,
    sessions,
    revoke,
    hosts,
    log,
    export: exportUsers,
    import: importUsers,
  },
});
