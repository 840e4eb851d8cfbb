// The same as echo-handler.ts, with an object of hooks.

import type { Message, Session } from "../../../src/services/service.ts";

export default {
  message(session: Session, message: Message): void {
    session.send(message);
  },
};
