// What a service is, and what it sees of a conversation. The hooks are those of Bun's and crossws' sockets. The same words
// stand in handler-template.ts, for whoever writes a handler file.

/**
 * Nobody hears any more what is said: the client is gone for good, or the conversation over. What {@link
 * Conversation.writable} rejects with, and the reason of its `signal`; a hook that ends with it, or because of it, is done.
 */
export class SessionClosedError extends Error {
  override name = "ConversationOver";

  constructor() {
    super("the conversation is over");
  }

  /** Is it the reason, or the reason of the reason, as `fetch` and timers have it? */
  static is(error: unknown): boolean {
    return (
      error instanceof SessionClosedError ||
      (error instanceof Error && error.cause instanceof SessionClosedError)
    );
  }
}

/** A conversation after login, as a service sees it. */
export interface Session {
  /** Number of the connection, as in the log. */
  readonly id: number;
  /** Who has logged in; null when nobody needs to. */
  readonly user: string | null;
  /** Where from, as `address:port`. */
  readonly peer: string;
  /** The service's own, undefined at first. */
  data: unknown;
  /** Aborted once nobody hears any more what is said: for a hook that goes on for long. */
  readonly signal: AbortSignal;
  /**
   * Sends one message: text as UTF-8, bytes as they are; they may be changed afterwards. Silent once it is over, but
   * for a hook that is still at work ten seconds later: there it throws.
   */
  send(message: string | Uint8Array): void;
  /**
   * Resolves when the client has read enough for more to be sent, and others had a turn; undefined when more can be sent at
   * once. Rejects once nobody hears any more. For whoever sends without end.
   */
  writable(): Promise<void> | undefined;
  /** The text of a payload. @throws {MessageError} when it is not UTF-8: let it end the conversation. */
  text(payload: Uint8Array): string;
  /**
   * Says something beside the conversation, as a program on its standard error, in pieces when it is long, and keeps nothing
   * of it: false when there is nobody who could hear it, as a client that is away or has no control frames.
   */
  sendStderr(text: string): boolean;
  /** No more from the service: what was sent is delivered, then the conversation ends. `status` is 0, unless said. */
  finish(status?: number, message?: string): void;
  /** Ends it as a hook that throws `error` does: for what goes wrong outside of a hook. */
  fail(error: unknown): void;
  /** The room of that name. From now on the conversation is in it, until it is over. */
  room(name: string): Room;
}

/** Conversations that hear each other. */
export interface Room {
  readonly name: string;
  readonly members: ReadonlySet<Session>;
  /** Sends one message to every member, or every other one. Waits for nobody. */
  broadcast(message: string | Uint8Array, except?: Session): void;
  leave(member: Session): void;
}

/**
 * What answers. All hooks but `message` may be left out.
 *
 * A hook may return a promise; nothing further of this conversation is delivered until it settles, but for `close` when
 * the conversation was ended from this side, or the client has been gone for ten seconds. A hook that throws ends its own
 * conversation, and no other.
 */
export interface Service {
  /** Set where messages are lines, so that a stream of bytes cut into messages would not stay what it was. */
  readonly lineBased?: boolean;
  /** Set where a message is handed on to somebody who may not have read it when the service finishes. */
  readonly acksOnHandOff?: boolean;
  open?(session: Session): void | Promise<void>;
  /** One whole message. `payload` may be kept; it is a view of a larger chunk. */
  message(session: Session, payload: Uint8Array): void | Promise<void>;
  /** No more input. A service without this hook is finished then; one with it calls `session.finish` itself. */
  end?(session: Session): void | Promise<void>;
  /** Gone, for whatever reason. Called once, if `open` was. */
  close?(session: Session): void | Promise<void>;
  /** The client is gone while a hook is still at work; `close` follows when that is done. */
  disconnected?(session: Session): void;
  /** The server has ended: resolves when nothing is left of what the service began. `now`: at once. */
  stop?(now: boolean): Promise<void>;
}
