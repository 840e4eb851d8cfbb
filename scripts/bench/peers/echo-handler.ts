// The built-in echo, as anybody would write it.

import type { Message, Session } from "../../../src/services/service.ts";

export default function (session: Session, message: Message): void {
  session.send(message);
}
