// One message to all who are there.

import type { Message, Session } from "../../../src/services/service.ts";

export default {
  open: (session: Session) => void session.join("hall"),
  message: (session: Session, message: Message) => session.join("hall").broadcast(message),
};
