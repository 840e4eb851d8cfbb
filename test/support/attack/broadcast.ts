// A server of its own process, whose service tells everybody what one says. It says its port, then the name of each event
// and its code, a line each.

import type { LogEvent, LogFields } from "../../../src/log/log.ts";
import { Server } from "../../../src/server/server.ts";
import type { Session } from "../../../src/services/service.ts";

const members = new Set<Session>();
const say = (event: LogEvent, fields?: LogFields) =>
  process.stdout.write(`${event} ${String(fields?.["code"] ?? "")}\n`);
const server = new Server({
  host: "127.0.0.1",
  port: 0,
  auth: "none",
  serviceName: "broadcast",
  log: { debug: say, info: () => undefined, warn: say, error: say },
  service: {
    open: (session) => void members.add(session),
    message(session, message) {
      for (const member of members) if (member !== session) member.send(message);
      session.send("said");
    },
    close: (session) => void members.delete(session),
  },
});
process.stdout.write(`${server.port}\n`);
