// The client's side of a session: sends and receives messages, and says how it ended. connect.ts makes one after the login;
// cli/connect sends, receives and waits for the outcome.
//
//     connected     ── loss ─────────────────────────────────→ reconnecting
//     reconnecting  ── in the same session, or a new one ────→ connected
//     connected     ── bye, leave, or a loss for good ───────→ over
//     reconnecting  ── leave, or no attempt succeeded ───────→ over
//
// After a loss both sides send again what the other has not received. Where the server has the session no more, the client begins
// a new one; its messages in the old session that were never confirmed are then lost or sent again, as the user wants.
//
// Independent of that, the client's own input is open until `end`.

import { Reconnector, type ReconnectOptions, type ReconnectFailed, type Reconnected } from "./reconnect.ts";
import { messageOf } from "../base/errors.ts";
import { Condition } from "../base/condition.ts";
import { isChallenge } from "../handshake/shared-key.ts";
import { DelayedAckTimer, AckTracker } from "../delivery/ack-tracker.ts";
import {
  LEAVE_MS,
  MAX_MISSED_PINGS,
  MAX_UNACKNOWLEDGED_BYTES,
  MAX_UNACKNOWLEDGED_STREAM_BYTES,
  RETRY_FOR_MS,
} from "../base/limits.ts";
import { isLoss } from "../net/connection-error.ts";
import type { ByteBudget } from "../base/byte-budget.ts";
import type { Connection } from "../net/connection.ts";
import type { Receiver } from "../net/reader.ts";
import type { RetransmitBuffer } from "../delivery/retransmit-buffer.ts";
import { Keepalive } from "./keepalive.ts";
import { Replies } from "./replies.ts";
import {
  beginsWithDigits,
  FrameError,
  HEADER_BYTES,
  tlsRecord,
  UINT32,
  type Framing,
} from "../wire/frame.ts";
import { decodeControl, encodeAck, encodeMessage, readAck } from "../wire/codec.ts";
import type { Hello, Welcome, WindowSize } from "../wire/message.ts";

/** How a client ended. `early`: before the client had ended its input. */
export type Outcome =
  /** The server ended the session. */
  | { kind: "bye"; code: string; message: string; status: number | undefined; early: boolean }
  /** Without control frames: the server closed the connection between two frames. */
  | { kind: "ended"; early: boolean }
  /** The connection was lost. `reconnectFailed`: why the client could not reconnect, where it tried to. */
  | { kind: "lost"; reason: string; reconnectFailed?: ReconnectFailed }
  /** The client has closed the connection, since the server broke the protocol or its output could not be used. */
  | { kind: "fault"; reason: string; hint?: string }
  /** With bare frames: the server wants a login, a shared key or TLS. */
  | { kind: "protocol_mismatch"; reason: string }
  /** The client left. */
  | { kind: "left" };

export interface ClientParts {
  connection: Connection;
  /** Undefined with bare frames, as is `welcome`. */
  hello?: Hello;
  welcome?: Welcome;
  /** Undefined: the client does not reconnect. */
  reconnect?: ReconnectOptions;
  /** Counts the memory of what is not acknowledged. */
  budget?: ByteBudget;
  onAside?(text: string): void | Promise<void>;
}

/** For the user of a client that takes the messages for a stream of bytes. */
export interface StreamCallbacks {
  /** Called once when the server has ended its output; the input of the client stays open. */
  outputEnded?(): void;
  /** Messages that `receive` has taken and not handed on yet: they are not acknowledged. */
  unprocessed?(): number;
  /** Resolves when no message is unprocessed; undefined: that is so now. An end with `done` waits for it. */
  allProcessed?(): Promise<void> | undefined;
}

export class Client {
  readonly hello: Hello | undefined;
  /** The `welcome` of the present session. */
  welcome: Welcome | undefined;
  /** Messages sent, in all sessions of this client. */
  sent = 0;
  /** Messages received, in all sessions of this client. */
  received = 0;
  /** Messages of earlier sessions that were neither confirmed nor sent again. */
  unconfirmed = 0;
  /** True when an earlier session was lost unfinished after it had confirmed messages: their answers may be lost. */
  answersMayBeMissing = false;
  readonly #parts: ClientParts;
  readonly #ackTimer = new DelayedAckTimer();
  readonly #outcome = Promise.withResolvers<Outcome>();
  #connection: Connection;
  #replies: Replies;
  readonly #reconnector = new Reconnector();
  /** Undefined in a session without acknowledgements. */
  #acks: AckTracker | undefined;
  #receive: (payload: Uint8Array) => void | Promise<void> = () => undefined;
  #stream: StreamCallbacks = {};
  #outputEnded = false;
  /** The promise of `#receive` for the last message, until it settles. */
  #receiving: Promise<void> | undefined;
  /** The promise of `onAside` for the last `stderr` message. */
  #aside: Promise<void> | undefined;
  /** Messages received in earlier sessions. */
  #receivedBefore = 0;
  /** Messages that were acknowledged in earlier sessions. */
  #acknowledgedBefore = 0;
  #isReconnecting = false;
  /** The number of messages at the end of the retransmit buffer that were never written to a connection. */
  #unsent = 0;
  /** True when the service has finished: its `bye` had a status. */
  #hasFinished = false;
  /** The end of the session, while `allProcessed` is awaited: everything was received. */
  #ending: Outcome | undefined;
  #over = false;
  #inputEnded = false;
  #keepalive: Keepalive | undefined;
  /** Resolved when the server has settled; undefined until the user of the client asks. */
  #settled: PromiseWithResolvers<void> | undefined;
  /** True when the server has answered the ping of {@link settled}. */
  #hasAnswered = false;
  /** Notified when `writable` may have changed. */
  readonly #writable = new Condition();

  /** @param parts a connection after the login, or with bare frames. See {@link connectClient}. */
  constructor(parts: ClientParts) {
    this.#parts = parts;
    this.hello = parts.hello;
    this.welcome = parts.welcome;
    this.#connection = parts.connection;
    this.#replies = new Replies(parts.connection);
    this.#startAckTracking();
  }

  /** The headers of its frames. */
  get framing(): Framing {
    return this.#connection.decoder.framing;
  }

  /** The longest message that the server accepts, and that a header can announce, in bytes. */
  get maxFrame(): number {
    return Math.min(this.hello?.max_frame ?? Infinity, this.framing.maxPayloadBytes);
  }

  /** True when the client has ended. */
  get isOver(): boolean {
    return this.#over;
  }

  /** True after a loss, until the client is connected again. Messages that are sent meanwhile wait. */
  get isReconnecting(): boolean {
    return this.#isReconnecting;
  }

  /** True while what was received waits for the user of the client: nothing more is read. */
  get isInputHeld(): boolean {
    return this.#connection.isInputHeld;
  }

  /** True after {@link end}. */
  get inputEnded(): boolean {
    return this.#inputEnded;
  }

  /** The number of sent messages that the server has not acknowledged; undefined in a session without acknowledgements. */
  get unacknowledged(): number | undefined {
    return this.#acks?.retransmit.frames;
  }

  /** Bytes of the messages that the server has not acknowledged. */
  get unacknowledgedBytes(): number {
    let total = 0;
    for (const frame of this.#acks?.retransmit.unacknowledged() ?? []) total += frame.length - HEADER_BYTES;
    return total;
  }

  /** Memory for the server, in bytes. */
  get allocated(): number {
    return this.#connection.allocated + (this.#acks?.retransmit.allocated ?? 0);
  }

  /** The number of messages received and of messages acknowledged, together: it never falls. */
  get #progress(): number {
    return this.received + this.#acknowledgedBefore + (this.#acks?.retransmit.acknowledged ?? 0);
  }

  /** Gives the memory of what is not acknowledged back, once the client has ended. */
  release(): void {
    this.#acks?.retransmit.clear();
  }

  /** Closes the connection of a client that has ended, with a reset: its input takes no memory any more. */
  terminate(): void {
    this.#connection.terminate();
  }

  /** The sent messages that the server has not acknowledged. */
  unacknowledgedMessages(): Uint8Array[] {
    return messagesIn(this.#acks?.retransmit);
  }

  /** Sends one message. Callers with many messages wait for {@link writable} before the next. */
  send(message: string | Uint8Array): void {
    this.sent++;
    if (!this.#isReconnecting) return this.#connection.send(message);
    this.#unsent++;
    this.#acks?.retransmit.add(typeof message === "string" ? Buffer.from(message) : message);
  }

  /** Sends `bytes` as messages of `longest` bytes at most, at once: a part of a stream that has arrived as one. */
  sendBytes(bytes: Uint8Array, longest: number): void {
    if (this.#isReconnecting) {
      for (let at = 0; at < bytes.length; at += longest) this.send(bytes.subarray(at, at + longest));
      return;
    }
    this.sent += Math.ceil(bytes.length / longest);
    this.#connection.sendAtOnce(bytes, longest);
  }

  /** Resolves when queue and window have room for more messages; undefined when they have room now. */
  writable(): Promise<void> | undefined {
    if (this.#over) return undefined;
    const isFull = this.#acks?.retransmit.isWindowFull === true;
    if (!isFull && !this.#isReconnecting) return this.#connection.writable();
    return this.#writable.wait();
  }

  /** Tells the server the size of the window of this terminal. Without a connection it does nothing: call it again after a resume. */
  sendWindow(size: WindowSize): void {
    if (this.#over || this.#isReconnecting || this.welcome?.control !== true) return;
    this.#replies.send("window", encodeMessage({ type: "window", ...size }));
  }

  /** Ends the input: the server answers what it has received, then ends the session. */
  end(): void {
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    this.#sendEnd();
  }

  /**
   * Resolves when the server has acknowledged all messages, and has answered a ping after them: what it sends at once at the end of
   * the input came before that. Never resolves in a session without acknowledgements, or when the connection is lost meanwhile.
   */
  settled(): Promise<void> {
    if (this.#settled === undefined) {
      this.#settled = Promise.withResolvers();
      const hasControl = this.welcome?.control === true && !this.#isReconnecting;
      if (hasControl) this.#connection.sendControl(encodeMessage({ type: "ping", n: SETTLING_PING }));
    }
    return this.#settled.promise;
  }

  #checkSettled(): void {
    if (this.#hasAnswered && this.unacknowledged === 0) this.#settled?.resolve();
  }

  /** Leaves at once. Messages that are on their way, in either direction, may be lost. */
  leave(): void {
    if (this.#over) return;
    const { reconnect } = this.#parts;
    const mayBeHeld = !this.#isReconnecting && (this.unacknowledged ?? 0) > 0;
    this.#sendBye();
    this.#endWith({ kind: "left" });
    if (mayBeHeld && reconnect?.sameSession === true)
      setTimeout(() => void this.#leaveAgain(reconnect), LEAVE_MS).unref();
  }

  /** A server whose service takes nothing reads nothing, and sees no `bye` behind the rest: it gets one over a new connection. */
  async #leaveAgain(reconnect: ReconnectOptions): Promise<void> {
    const { welcome } = this;
    if (welcome?.session === undefined || this.#connection.inputEnded) return;
    this.#connection.terminate();
    const forMs = Math.min(reconnect.forMs, RETRY_FOR_MS); // the session is over by then, or the server keeps to nothing
    const options = { ...reconnect, forMs };
    const result = await this.#reconnector.reconnect(options, {
      progress: this.#progress,
      welcome,
      received: this.received - this.#receivedBefore,
      isOver: () => false,
    });
    if ("connection" in result) leaveOver(result.connection);
  }

  /** Sends `bye`, so that the server does not keep the session. */
  #sendBye(): void {
    if (this.#acks === undefined || this.#isReconnecting) return;
    this.#replies.flush();
    this.#connection.sendControl(BYE);
  }

  /**
   * Calls `receive` for each message until the client has ended. The next message waits for a promise that `receive` returns.
   *
   * @returns how the client ended.
   */
  converse(
    receive: (payload: Uint8Array) => void | Promise<void>,
    stream: StreamCallbacks = {},
  ): Promise<Outcome> {
    this.#receive = receive;
    this.#stream = stream;
    const { keepalive } = this.welcome ?? {};
    if (keepalive !== undefined && keepalive > 0) {
      this.#keepalive = new Keepalive(
        keepalive * 1000,
        () => (this.#isReconnecting ? undefined : this.#connection),
        () => this.#onLoss(`the server did not answer ${MAX_MISSED_PINGS} pings`),
      );
    }
    this.#connection.deliver(this.#receiver());
    return this.#outcome.promise;
  }

  #receiver(): Receiver {
    const acks = this.#acks;
    return {
      message: (message) => this.#payload(message.bytes),
      control: (payload) => this.#control(payload),
      turnEnded: acks && (() => acks.turnEnded()),
      disconnected: () => {
        // At once, although received messages may wait: the server sends them again over the new connection.
        if (this.#parts.reconnect !== undefined && acks !== undefined)
          this.#onLoss("the connection was lost");
      },
      end: () => this.#onEnd("the server closed the connection"),
      fail: (error) => this.#onError(error),
      close: (error) => this.#onLoss(`the connection was ${error === undefined ? "closed" : "reset"}`),
    };
  }

  #payload(payload: Uint8Array): void | Promise<void> {
    if (this.received === 0 && this.hello === undefined) {
      const reason = mismatchOf(payload);
      if (reason !== undefined) return this.#endWith({ kind: "protocol_mismatch", reason });
    }
    this.received++;
    const pending = this.#receive(payload);
    if (pending === undefined) return undefined;
    return (this.#receiving = pending.then(() => void (this.#receiving = undefined)));
  }

  #control(payload: Uint8Array): void | Promise<void> {
    const received = readAck(payload);
    if (received !== undefined) return this.#acknowledged(received);
    const message = decodeControl(payload);
    switch (message?.type) {
      case "ping":
        return this.#replies.send("pong", encodeMessage({ type: "pong", n: message.n }));
      case "pong":
        if (message.n === SETTLING_PING) this.#hasAnswered = true;
        return this.#checkSettled();
      case "ack":
        return this.#acknowledged(message.received);
      case "end":
        if (!this.#outputEnded) this.#stream.outputEnded?.();
        this.#outputEnded = true;
        return undefined;
      case "stderr":
        return (this.#aside = this.#parts.onAside?.(message.text) ?? undefined);
      case "bye": {
        const { code, message: text, status } = message;
        this.#acks?.acknowledge();
        this.#hasFinished = status !== undefined;
        const { reconnect } = this.#parts;
        // The server is probably restarted: reconnect, perhaps for a new session.
        if (code === "shutting_down" && reconnect !== undefined && reconnect.sameSession !== true) {
          return this.#onLoss(text);
        }
        this.#ending = { kind: "bye", code, message: text, status, early: !this.#inputEnded };
        const processed = code === "done" ? this.#stream.allProcessed?.() : undefined;
        return processed?.then(() => this.#answerBye()) ?? this.#answerBye();
      }
    }
  }

  /** The session has ended, and everything was handed on. */
  #answerBye(): void {
    if (this.#over || this.#ending === undefined) return;
    this.#acks?.acknowledge();
    this.#sendBye();
    this.#endWith(this.#ending);
  }

  #acknowledged(received: number): void {
    const retransmit = this.#acks?.retransmit;
    if (retransmit === undefined) return;
    if (!retransmit.acknowledge(received))
      return this.#onError(new Error("the server acknowledged messages that were not sent"));
    if (!retransmit.isWindowFull) this.#writable.notifyAll();
    if (this.#settled !== undefined) this.#checkSettled();
  }

  /** Called when the server has closed its side between two frames. With control frames it should have sent `bye` first. */
  #onEnd(reason: string): void {
    if (this.welcome?.control === true) this.#onLoss(reason);
    else this.#endWith({ kind: "ended", early: !this.#inputEnded });
  }

  /** Called when the connection, or a callback of this client, has failed. Another connection helps only after a loss. */
  #onError(error: unknown): void {
    if (isLoss(error)) return this.#onLoss(messageOf(error));
    const isBareAndNew = this.received === 0 && this.hello === undefined;
    if (isBareAndNew && error instanceof FrameError && tlsRecord(error) !== undefined) {
      return this.#endWith({ kind: "protocol_mismatch", reason: "the server uses TLS: use --tls" });
    }
    if (!this.#over) this.#sendBye();
    const hint = error instanceof FrameError ? this.#hintFor(error, isBareAndNew) : undefined;
    this.#endWith({ kind: "fault", reason: messageOf(error), hint });
  }

  #hintFor(error: FrameError, isBareAndNew: boolean): string | undefined {
    const { name } = this.framing;
    if (error.code === "bad_length" && name !== UINT32.name) {
      return `check that the server writes ${name}, and that its lengths count bytes, not characters`;
    }
    if (error.code !== "frame_too_large") return undefined;
    if (!isBareAndNew) return "accept longer messages with --max-frame SIZE";
    return name === UINT32.name && beginsWithDigits(error)
      ? "if the server writes lengths as decimal digits, use --framing decimal:10 with their number"
      : undefined;
  }

  #onLoss(reason: string): void {
    const { reconnect } = this.#parts;
    if (this.#over || this.#isReconnecting) return;
    if (this.#ending !== undefined) return this.#endWith(this.#ending);
    if (reconnect === undefined || reconnect.times === 0 || this.welcome?.session === undefined) {
      return this.#endWith({ kind: "lost", reason });
    }
    this.#isReconnecting = true;
    this.#connection.detach();
    this.#connection.terminate();
    void this.#reconnect(reconnect, this.welcome, reason);
  }

  async #reconnect(options: ReconnectOptions, welcome: Welcome, reason: string): Promise<void> {
    const lostAt = performance.now();
    const said = options.onLost(reason);
    if (said !== undefined) await said;
    const result = await this.#reconnector.reconnect(options, {
      progress: this.#progress,
      welcome,
      received: this.received - this.#receivedBefore,
      // What the other end of a stream has left behind ends with `bye`: the client comes back for that alone.
      isOver: () => this.#over && options.sameSession !== true,
    });
    if ("connection" in result) this.#resumeOver(result, performance.now() - lostAt, options);
    else this.#endWith({ kind: "lost", reason, reconnectFailed: result });
  }

  #resumeOver({ connection, welcome }: Reconnected, afterMs: number, options: ReconnectOptions): void {
    if (this.#over) return leaveOver(connection);
    const unacked = this.#acks?.retransmit;
    const isSame = welcome.resumed === true;
    const received = welcome.received ?? 0;
    if (isSame && unacked?.canResumeFrom(received) !== true) {
      connection.finish();
      return this.#endWith({
        kind: "fault",
        reason: "the server claims to have received more messages than were sent",
      });
    }
    // A new session gets the messages that were never written, and with `resend` also those that may have arrived before.
    const all = isSame ? [] : messagesIn(unacked);
    const lost = isSame || options.resend ? [] : all.slice(0, all.length - this.#unsent);
    const missing = isSame && unacked !== undefined ? unacked.acknowledged + unacked.frames - received : 0;
    const again = (isSame ? missing : all.length - lost.length) - this.#unsent;
    this.unconfirmed += lost.length;
    this.#unsent = 0;
    const answersMayBeMissing = !isSame && !this.#hasFinished;
    this.answersMayBeMissing ||= answersMayBeMissing;
    this.#hasFinished = false;
    this.#outputEnded &&= isSame;
    this.#connection = connection;
    this.#replies = new Replies(connection);
    this.#isReconnecting = false;
    const { resume_key } = this.welcome ?? {};
    this.welcome = { resume_key, ...welcome };
    if (!isSame) this.#startAckTracking();
    const acks = this.#acks;
    if (isSame && acks !== undefined) {
      acks.reconnected(this.received - this.#receivedBefore);
      connection.sendAgain(acks.retransmit, received);
    } else {
      for (const message of all.slice(lost.length)) connection.send(message);
    }
    if (this.#inputEnded) this.#sendEnd();
    options.onResumed({ afterMs, again, lost, isNew: !isSame, answersMayBeMissing });
    connection.deliver(this.#receiver(), () => this.#receiving ?? this.#aside);
    if (acks?.retransmit.isWindowFull !== true) this.#writable.notifyAll();
  }

  get #unprocessed(): number {
    return this.#stream.unprocessed?.() ?? (this.#receiving === undefined ? 0 : 1);
  }

  /** Fewer messages are unprocessed: acknowledges the others, now or soon. */
  processed(): void {
    if (!this.#isReconnecting) this.#acks?.turnEnded();
  }

  /** Begins the acknowledgements of a new session, if it has any. */
  #startAckTracking(): void {
    this.#acknowledgedBefore += this.#acks?.retransmit.acknowledged ?? 0;
    this.#acks = undefined;
    if (this.welcome?.session === undefined) return;
    this.#receivedBefore = this.received;
    this.#acks = new AckTracker(this.#ackTimer, {
      // At least 0: the message that is being processed may belong to the session before.
      processed: () => Math.max(0, this.received - this.#receivedBefore - this.#unprocessed),
      bytesReceived: () => this.#connection.bytes,
      sendAck: (received) => this.#replies.send("ack", encodeAck(received)),
    });
    if (this.#parts.budget !== undefined) this.#acks.retransmit.budget = this.#parts.budget;
    const window = this.welcome.window ?? MAX_UNACKNOWLEDGED_BYTES;
    this.#acks.retransmit.window = Math.min(window, MAX_UNACKNOWLEDGED_STREAM_BYTES);
    this.#connection.trackUnacked(this.#acks.retransmit);
  }

  #sendEnd(): void {
    if (this.#isReconnecting) return; // sent after reconnecting
    if (this.welcome?.control === true) this.#connection.sendLast(encodeMessage({ type: "end" }));
    else this.#connection.endSending();
  }

  #endWith(outcome: Outcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#keepalive?.stop();
    this.#ackTimer.stop();
    this.#writable.notifyAll();
    this.#outcome.resolve(outcome);
    this.#connection.finish();
  }
}

/** Copies of the unacknowledged messages, without headers. */
function messagesIn(buffer: RetransmitBuffer | undefined): Uint8Array[] {
  return [...(buffer?.unacknowledged() ?? [])].map((frame) => Buffer.from(frame.subarray(HEADER_BYTES)));
}

/** Says `bye`, so that the server does not keep the session. */
function leaveOver(connection: Connection): void {
  connection.sendControl(BYE);
  connection.finish();
}

/** The number of the ping of {@link Client.settled}; those of the keepalive begin at 1. */
const SETTLING_PING = 0;
const BYE = encodeMessage({ type: "bye", code: "left", message: "the client has left" });

/** Why the first payload of a bare connection is no message of the service; undefined when it may be one. */
function mismatchOf(payload: Uint8Array): string | undefined {
  if (isChallenge(payload)) return "the server requires a shared key: use --key-file FILE";
  const start = Buffer.from(payload.subarray(0, HELLO_START.length)).toString();
  return start === HELLO_START ? "the server requires a login: leave --bare out" : undefined;
}

const HELLO_START = '{"type":"hello","protocol":"parley/';
