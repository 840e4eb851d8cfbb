// parley itself: its commands, each of which is read when it is used, and the topics of `parley help`.

import { defineCommand } from "citty";
import { about, type Command } from "./parse.ts";

export const parley = defineCommand({
  meta: about({
    name: "parley",
    description: "adds login, sessions and message framing to TCP",
    examples: [
      ["parley serve", "start a server"],
      ["parley users add ann", "create an account"],
      ["parley connect ann@127.0.0.1:13131", "log in and talk"],
    ],
    topics: {
      completion: () =>
        import("./completion/command.ts").then(({ completion }) => completion(() => parley) as Command),
    },
  }),
  subCommands: {
    serve: () => import("./serve/command.ts").then((module) => module.default),
    connect: () => import("./connect/command.ts").then((module) => module.default),
    users: () => import("./users/command.ts").then((module) => module.default),
  },
}) as Command;
