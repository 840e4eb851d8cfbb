// An echo that looks at the bytes of each message.

import type { Message, Session } from "../../../src/services/service.ts";

export default function (session: Session, message: Message): void {
  session.send(message.bytes);
}
