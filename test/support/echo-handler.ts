// A handler file that gives back what it gets.

import type { Conversation } from "../../src/services/service.ts";

export default (session: Conversation, payload: Uint8Array): void => session.send(payload);
