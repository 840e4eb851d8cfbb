// The service that sends every message back as it was.

import type { Service } from "./service.ts";

export const echo: Service = {
  message(session, message) {
    session.send(message);
  },
};
