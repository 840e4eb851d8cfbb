// A handler file that gives back what it gets.

import type { Session } from "../../src/services/service.ts";

export default (session: Session, payload: Uint8Array): void => session.send(payload);
