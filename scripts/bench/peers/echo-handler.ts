// The built-in echo, as anybody would write it.

import type { Session } from "../../../src/services/service.ts";

export default function (session: Session, payload: Uint8Array): void {
  session.send(payload);
}
