// A class as a handler: each client has an object of its own, with fields for what is known of that client.
//
//     parley serve --auth none --handler upper-class.ts
//     printf 'one\ntwo\n' | parley connect 127.0.0.1:13131

import type { Conversation, Session } from "./parley.d.ts";

export default class Upper implements Conversation {
  readonly session: Session;
  lines = 0;

  constructor(session: Session) {
    this.session = session;
  }

  message(message: { text(): string }): void {
    this.lines++;
    this.session.send(message.text().toUpperCase());
  }

  /** The client has ended its input. */
  end(): void {
    this.session.send(`${this.lines} lines`);
    this.session.finish();
  }
}
