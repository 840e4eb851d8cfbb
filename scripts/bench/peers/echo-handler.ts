// The built-in echo, as anybody would write it.

import type { Conversation } from "../../../src/services/service.ts";

export default function (session: Conversation, payload: Uint8Array): void {
  session.send(payload);
}
