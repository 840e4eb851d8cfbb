// A handler file that gives back what it gets.

import type { Message, Session } from "../../src/services/service.ts";

export default (session: Session, message: Message): void => session.send(message);
