// What `parley serve --init` writes: a handler to begin with, and the types that an editor completes and checks it by.
// The types repeat service.ts in the words of whoever writes a handler; a test holds the two together.

export const HANDLER_TEMPLATE = `import type { Handler } from "./parley.d.ts";

// Run it:           parley serve --handler NAME --watch
// Talk to it:       parley connect 127.0.0.1:13131
// Every conversation has its own session; session.data is yours, for whatever must be remembered in it.

export default {
  // Somebody has logged in.
  open(session) {
    session.send(\`welcome, \${session.user ?? "stranger"}\`);
  },

  // One whole message, as bytes; session.text reads it as UTF-8. May be async: the next one waits until it is done.
  message(session, payload) {
    session.send(\`you said \${session.text(payload)}\`);
  },

  // close(session) {}   // gone, for whatever reason
  // end(session) {}     // no more is coming; call session.finish() when all is said (without this hook it is done at once)
} satisfies Handler;
`;

export const HANDLER_TYPES = `// What a handler file of parley is written against. Made by \`parley serve --init\`; nothing reads it but your editor.

/** A conversation with one client, after its login. */
export interface Session {
  /** Number of the connection, as in the log. */
  readonly id: number;
  /** Who has logged in; null when nobody needs to (--auth none). */
  readonly user: string | null;
  /** Where from, as address:port. */
  readonly peer: string;
  /** Yours; undefined at first. */
  data: unknown;
  /** Aborted when the client has gone or the conversation is over: for a hook that goes on for long. */
  readonly signal: AbortSignal;
  /** Sends one message: text as UTF-8, bytes as they are. Nothing happens once the conversation is over. */
  send(message: string | Uint8Array): void;
  /** Resolves when the client has read enough for more to be sent, undefined when it has; rejects when it has gone. */
  writable(): Promise<void> | undefined;
  /** The text of a payload. Throws when it is not UTF-8, which ends the conversation and says why. */
  text(payload: Uint8Array): string;
  /** Says something beside the conversation, as a program on its standard error; false when nobody can hear it now. */
  sendStderr(text: string): boolean;
  /** What was sent is delivered, then the conversation ends. */
  finish(status?: number, message?: string): void;
  /** The room of that name. From now on the conversation is in it, until it is over. */
  room(name: string): Room;
}

/** Conversations that hear each other. */
export interface Room {
  readonly name: string;
  readonly members: ReadonlySet<Session>;
  /** Sends one message to every member, or to every other one. Waits for nobody. */
  broadcast(message: string | Uint8Array, except?: Session): void;
  leave(member: Session): void;
}

/** What answers. A hook may be async; nothing further of its conversation is delivered until it is done. */
export interface Handler {
  open?(session: Session): void | Promise<void>;
  message(session: Session, payload: Uint8Array): void | Promise<void>;
  end?(session: Session): void | Promise<void>;
  close?(session: Session): void | Promise<void>;
}
`;
