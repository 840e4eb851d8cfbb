// The same as echo-handler.ts, with an object of a class for each session.

import type { Message, Session } from "../../../src/services/service.ts";

export default class Echo {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  message(message: Message): void {
    this.#session.send(message);
  }
}
