// The two files that `parley serve --init` writes: a first handler, and the types by which an editor checks and completes it. The
// types repeat service.ts; test/services/handler/template.test.ts compares them.

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
  /** The text. Throws when it is not UTF-8. A hook that does not catch it ends the session, and the client sees why. */
  text(): string;
  /** The value of its JSON text. Throws when it is none, as \`text\` does. */
  json(): unknown;
}

/** What can be sent: text as UTF-8, bytes and received messages as they are, any other object as JSON. */
export type Sendable = string | Uint8Array | Message | object;

/** One client after its login. */
export interface Session<Data = unknown> {
  /** The number of the connection that it began on, as in the log. It stays when the client returns. */
  readonly id: number;
  /** The user that has logged in; null on a server without logins (--auth none). */
  readonly user: string | null;
  /** The tags of that user, as \`parley users tag\` has set them last; none without an account. */
  readonly tags: readonly string[];
  /** The client's address, as address:port. */
  readonly peer: string;
  /** Free for you to use; undefined at first. */
  data: Data;
  /** False while the client is away: its connection is lost, and it may come back. */
  readonly attached: boolean;
  /** Aborted when the client is gone for good, or the session was ended. For a hook that takes long. */
  readonly signal: AbortSignal;
  /** Sends one message. Does nothing after the session was closed. */
  send(message: Sendable): void;
  /** Resolves when the client has read enough for more to be sent; undefined when it has. Rejects when the session is closed. */
  writable(): Promise<void> | undefined;
  /** Sends text beside the messages, as a program does on its standard error. False when the client cannot receive it now. */
  sendStderr(text: string): boolean;
  /** Ends the session after all sent messages were delivered. The client shows the message, and may exit with the status, 0 to 255. */
  finish(status?: number, message?: string): void;
  /** Joins the room of that name, until the session leaves it or is closed. */
  join(name: string): Room<Data>;
  /** Leaves the room of that name. */
  leave(name: string): void;
  /** Calls \`callback\` after \`ms\` milliseconds, unless the session is closed before. Returns what stops it. */
  after(ms: number, callback: () => unknown): () => void;
  /** Calls \`callback\` every \`ms\` milliseconds, until the session is closed. Returns what stops it. */
  every(ms: number, callback: () => unknown): () => void;
}

/** A set of sessions. A message to a room goes to all of them. */
export interface Room<Data = unknown> {
  readonly name: string;
  readonly members: ReadonlySet<Session<Data>>;
  /** The names of the users in it, each once, in order. A session without a login has no name. */
  names(): string[];
  /** Sends one message to every member except \`except\`. Does not wait for members that read slowly. */
  broadcast(message: Sendable, except?: Session): void;
  /** Sends one message to the members that have logged in as user \`name\`. */
  tell(name: string, message: Sendable): void;
}

/** The server, for what belongs to no session. */
export interface Server<Data = unknown> {
  /** The sessions that are open. */
  readonly sessions: ReadonlySet<Session<Data>>;
  /** The room of that name, without joining it. */
  room(name: string): Room<Data>;
  /** Calls \`callback\` after \`ms\` milliseconds, unless the server stops or loads the file again before. Returns what stops it. */
  after(ms: number, callback: () => unknown): () => void;
  /** Calls \`callback\` every \`ms\` milliseconds, until the server stops or loads the file again. Returns what stops it. */
  every(ms: number, callback: () => unknown): () => void;
}

/** The hooks of a handler. A hook may be async: the next hook of the session waits for it. */
export interface Handler<Data = unknown> {
  start?(server: Server<Data>): void | Promise<void>;
  stop?(server: Server<Data>): void | Promise<void>;
  open?(session: Session<Data>): void | Promise<void>;
  message(session: Session<Data>, message: Message): void | Promise<void>;
  end?(session: Session<Data>): void | Promise<void>;
  close?(session: Session<Data>): void | Promise<void>;
  detached?(session: Session<Data>): void | Promise<void>;
  attached?(session: Session<Data>): void | Promise<void>;
}

/** An object for one session, made by a class that is the default export: \`class Upper implements Conversation\`. */
export interface Conversation {
  open?(): void | Promise<void>;
  message(message: Message): void | Promise<void>;
  end?(): void | Promise<void>;
  close?(): void | Promise<void>;
  detached?(): void | Promise<void>;
  attached?(): void | Promise<void>;
}
`;
