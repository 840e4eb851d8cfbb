// The two files that `parley serve --init` writes: a first handler, and the types by which an editor checks and completes it. The
// types repeat service.ts; test/services/handler-template.test.ts compares them.

export const HANDLER_TEMPLATE = `import type { Handler } from "./parley.d.ts";

// Run it:           parley serve --handler NAME --watch
// Talk to it:       parley connect 127.0.0.1:13131
// Every client has a session of its own; session.data is free for you to use.

export default {
  // Called when a client has logged in.
  open(session) {
    session.send(\`welcome, \${session.user ?? "stranger"}\`);
  },

  // Called for each message. It may be async: the next message waits for it.
  message(session, message) {
    session.send(\`you said \${message.text()}\`);
  },

  // close(session) {}   // called when the session is closed, for any reason
  // end(session) {}     // called when the client has ended its input; calls session.finish() (without this hook the session ends)
} satisfies Handler;
`;

export const HANDLER_TYPES = `// The types of a handler file of parley. Made by \`parley serve --init\`; only your editor reads this file.

/** A message that has arrived. It may be kept. */
export interface Message {
  /** The number of bytes. */
  readonly length: number;
  /** The bytes: the same array each time. */
  readonly bytes: Uint8Array;
  /** The text. Throws when it is not UTF-8, which ends the session and tells the client why. */
  text(): string;
  /** The value of its JSON text. Throws when it is none, which ends the session and tells the client why. */
  json(): unknown;
}

/** One client after its login. */
export interface Session {
  /** The number of the connection, as in the log. */
  readonly id: number;
  /** The user that has logged in; null on a server without logins (--auth none). */
  readonly user: string | null;
  /** The client's address, as address:port. */
  readonly peer: string;
  /** Free for you to use; undefined at first. */
  data: unknown;
  /** Aborted when the client is gone for good, or the session was ended. For a hook that takes long. */
  readonly signal: AbortSignal;
  /** Sends one message: text as UTF-8, bytes and received messages as they are. Does nothing after the session was closed. */
  send(message: string | Uint8Array | Message): void;
  /** Resolves when the client has read enough for more to be sent; undefined when it has. Rejects when the session is closed. */
  writable(): Promise<void> | undefined;
  /** Sends text beside the messages, as a program does on its standard error. False when the client cannot receive it now. */
  sendStderr(text: string): boolean;
  /** Ends the session after all sent messages were delivered. */
  finish(status?: number, message?: string): void;
  /** Joins the room of that name, until the session is closed. */
  room(name: string): Room;
}

/** A set of sessions. A message to a room goes to all of them. */
export interface Room {
  readonly name: string;
  readonly members: ReadonlySet<Session>;
  /** Sends one message to every member except \`except\`. Does not wait for members that read slowly. */
  broadcast(message: string | Uint8Array | Message, except?: Session): void;
  leave(member: Session): void;
}

/** The hooks of a handler. A hook may be async: the next hook of the session waits for it. */
export interface Handler {
  open?(session: Session): void | Promise<void>;
  message(session: Session, message: Message): void | Promise<void>;
  end?(session: Session): void | Promise<void>;
  close?(session: Session): void | Promise<void>;
}
`;
