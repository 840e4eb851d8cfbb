// The contract between a session and a service: what a service may call (Session, Room, Server), and what it implements (Service).
// The hooks are those of Bun's and crossws' sockets. session/ calls the hooks; the files of this folder implement them. The types
// that a handler file sees are in handler/template.ts.

import type { ClientTerminal, WindowSize } from "../wire/message.ts";

/**
 * The session is closed: its client is gone for good, or it was ended. {@link Session.writable} rejects with this error, and it is
 * the reason of {@link Session.signal}. A hook that ends with it has not failed.
 */
export class SessionClosedError extends Error {
  override name = "SessionClosedError";

  constructor() {
    super("the conversation is over");
  }

  /** True for this error, and for one whose cause it is: `fetch` and timers wrap the reason of a signal. */
  static is(error: unknown): boolean {
    return (
      error instanceof SessionClosedError ||
      (error instanceof Error && error.cause instanceof SessionClosedError)
    );
  }
}

/** Code of the service has called a method wrongly. Its own frame is often not on the stack, since the call was its last act. */
export class MisuseError extends TypeError {}

/**
 * Ends a session because its other end, such as the target of `--to`, cannot be reached or was reset. The client gets the code in
 * `bye`. It is no failure of the service.
 */
export class ServiceEnding extends Error {
  override name = "ServiceEnding";
  readonly code: "unreachable" | "reset";

  /** @param message for the client. @param cause says more, for the log. */
  constructor(code: "unreachable" | "reset", message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** A message that has arrived. It may be kept, which keeps the chunk in memory that it came in. */
export interface Message {
  /** The number of bytes. */
  readonly length: number;
  /** The bytes: the same array each time. */
  readonly bytes: Uint8Array;
  /** The text. @throws {MessageError} when it is not UTF-8. A hook that does not catch it ends the session. */
  text(): string;
  /** The value of its JSON text. @throws {MessageError} when it is none. */
  json(): unknown;
}

/** What can be sent: text as UTF-8, bytes and received messages as they are, any other object as JSON. */
export type Sendable = string | Uint8Array | Message | object;

/** One client after its login. */
export interface Session<Data = unknown> {
  /** The number of the connection, as in the log. */
  readonly id: number;
  /** The user that has logged in; null on a server without logins. */
  readonly user: string | null;
  /** The present tags of that user's account; none without an account. */
  readonly tags: readonly string[];
  /** The client's address, as `address:port`. */
  readonly peer: string;
  /** The server's own end of that connection, as `address:port`; undefined once it is closed. */
  readonly local: string | undefined;
  /** The client's terminal at its login, where the service has one, too; its messages are the keys of that terminal. */
  readonly terminal: ClientTerminal | undefined;
  /** Free for the service; undefined at first. */
  data: Data;
  /** False while the client is away: its connection is lost, and it may come back. */
  readonly attached: boolean;
  /** Aborted when the session is closed. For a hook that takes long. */
  readonly signal: AbortSignal;
  /**
   * Sends one message. The caller may change the bytes afterwards. After the session was closed
   * it does nothing; in a hook that still runs ten seconds later it throws.
   */
  send(message: Sendable): void;
  /**
   * Resolves when the client has read enough for more to be sent, and other sessions had their turn; undefined when more can be
   * sent at once. Rejects when the session is closed. A hook that sends very much waits for it.
   */
  writable(): Promise<void> | undefined;
  /**
   * Sends text beside the messages, as a program does on its standard error; a long text in pieces. It is not sent again after a
   * loss. False when the client cannot receive it now: it is detached, or has no control frames.
   */
  sendStderr(text: string): boolean;
  /** Ends the session after all sent messages were delivered. `status` is 0 by default. */
  finish(status?: number, message?: string): void;
  /** Ends the session as a hook does that throws `error`. For an error outside of a hook. */
  fail(error: unknown): void;
  /** Tells the client that no more messages follow. It may go on sending; `finish` ends the session. */
  endOutput(): void;
  /** Joins the room `name`, until the session leaves it or is closed. */
  join(name: string): Room<Data>;
  /** Leaves the room `name`. */
  leave(name: string): void;
  /** Calls `callback` after `ms` milliseconds, unless the session is closed before. Returns what stops it. */
  after(ms: number, callback: () => unknown): () => void;
  /** Calls `callback` every `ms` milliseconds, until the session is closed. Returns what stops it. */
  every(ms: number, callback: () => unknown): () => void;
}

/** A set of sessions. A message to a room goes to all of them. */
export interface Room<Data = unknown> {
  readonly name: string;
  readonly members: ReadonlySet<Session<Data>>;
  /** The names of the users in it, each once, in order. A session without a login has no name. */
  names(): string[];
  /** Sends one message to every member except `except`. Does not wait for members that read slowly. */
  broadcast(message: Sendable, except?: Session): void;
  /** Sends one message to the members that have logged in as user `name`. */
  tell(name: string, message: Sendable): void;
}

/** The server, for what belongs to no session. */
export interface Server<Data = unknown> {
  /** The sessions whose `open` hook was called, and that are not closed. */
  readonly sessions: ReadonlySet<Session<Data>>;
  /** The room `name`, without joining it. */
  room(name: string): Room<Data>;
  /** Calls `callback` after `ms` milliseconds, unless the service is stopped or loaded again before. Returns what stops it. */
  after(ms: number, callback: () => unknown): () => void;
  /** Calls `callback` every `ms` milliseconds, until the service is stopped or loaded again. Returns what stops it. */
  every(ms: number, callback: () => unknown): () => void;
}

/** The server, as it shows itself to a service. */
export interface ServiceHost extends Server {
  /** Reports an error that belongs to no session. */
  fail(error: unknown): void;
  /** The same server, with timers of its own. */
  fork(): ServiceHost;
  /** Stops the timers of `after` and `every`. Later ones do not start, or are those of `next`. */
  end(next?: ServiceHost): void;
}

/** File descriptors of this process that a service takes for its sessions, beside their connections. */
export interface DescriptorUse {
  /** The number for one session. */
  readonly perSession: number;
  /** The number in use now. A closed session counts until everything that was started for it has ended. */
  readonly taken: number;
}

/**
 * The hooks for the events of a session. All except `message` are optional.
 *
 * A hook may return a promise. The next hook of the session waits until it settles; only `close` does not when the server has
 * ended the session, or the client has been gone for ten seconds, and `detached` and `attached` wait for none. A hook that throws
 * ends its own session, and no other.
 */
export interface SessionHooks {
  /** Called first, after the login. */
  open?(session: Session): void | Promise<void>;
  /** Called for each message. */
  message(session: Session, message: Message): void | Promise<void>;
  /** Called when the client has ended its input. The hook calls `session.finish`; without this hook the session ends then. */
  end?(session: Session): void | Promise<void>;
  /** Called once when the session is closed, for any reason, if `open` was called. */
  close?(session: Session): void | Promise<void>;
  /** Called when the connection is lost, and the client may come back. */
  detached?(session: Session): void | Promise<void>;
  /** Called when the client has come back. */
  attached?(session: Session): void | Promise<void>;
}

/** A service: the hooks of its sessions, and what the server asks of it. */
export interface Service extends SessionHooks {
  /** `lines`: each message is a line, so a client must not cut its input elsewhere. `bytes`: the messages are a stream of bytes. */
  readonly messages?: "lines" | "bytes";
  /** True: each session has a terminal, which a client may join to its own. */
  readonly terminal?: boolean;
  /** True when `message` passes messages on to a receiver that may not have read them when the service finishes. */
  readonly acksOnHandOff?: boolean;
  /**
   * True where an end of the input means that the input is complete. A server that stops does not end it then: the session has the
   * time of the drain.
   */
  readonly keepsInput?: boolean;
  /** Undefined: none. The server counts them, so that they do not run out. */
  readonly descriptors?: DescriptorUse;
  /** The hooks of one session, where they are not those of the service. */
  hooksOf?(session: Session): SessionHooks;
  /** Called before the first connection. */
  start?(server: ServiceHost): void;
  /** What is said and logged of an error of the service that no hook has thrown. */
  explain?(error: unknown): Error;
  /** True for an error that comes from the code of the service. */
  isCauseOf?(error: unknown): boolean;
  /** Called when the window of the client's terminal has another size, also while another hook runs. */
  window?(session: Session, size: WindowSize): void;
  /** Called when the client is gone while a hook is running; `close` follows after that hook. */
  disconnected?(session: Session): void;
  /** Called when the server stops. Resolves when everything that the service has started is ended. `now`: do not wait. */
  stop?(now: boolean): Promise<void>;
}
