// The options of a client: the server's address, how to log in, and callbacks. cli/connect makes them for `connectClient`, and
// the other files of this folder read them.

import type { SharedKey } from "../auth/shared-key.ts";
import type { TokenParts } from "../auth/token.ts";
import type { Tap } from "../net/connection.ts";
import type { Cork } from "../net/cork.ts";
import type { TlsDemand } from "../net/tls.ts";
import type { Framing } from "../wire/frame.ts";
import type { ClientTerminal, Hello, Refused, Welcome } from "../wire/message.ts";
import type { ReconnectOptions } from "./reconnect.ts";

/** A credential to log in with. */
export type Credential =
  | { method: "none" }
  | { method: "ip" }
  | { method: "name"; user: string }
  | { method: "password" | "register"; user: string; password: string }
  | { method: "token"; token: TokenParts; logout?: boolean };

/** The steps before a session, in order. `tls` and `key` are taken only when the options ask for them. */
export type Step = "tcp" | "tls" | "key" | "hello" | "login";

export interface ClientOptions {
  host: string;
  port: number;
  /** `--bare`: frames from the first byte, without `hello` and login. */
  bare?: boolean;
  /** The headers of bare frames, both ways (default: uint32). */
  framing?: Framing;
  /** Undefined: no TLS. */
  tls?: TlsDemand;
  /** Decides whether the certificate is the right server's. Undefined when an authority vouches for it. */
  trust?: Trust;
  /** The key that both sides must prove before anything else. */
  key?: SharedKey;
  /** Milliseconds to wait for a server that is not up yet, or is busy. */
  waitMs?: number;
  /** Milliseconds to wait for each answer before the session. */
  timeoutMs?: number;
  /** False: the server should issue no token. */
  wantsToken?: boolean;
  /** How to reconnect after a loss; undefined: not at all. */
  retry?: Retry;
  /** Longest payload that the client accepts, in bytes, whatever the server announces (default: {@link MAX_ANSWER_BYTES}). */
  maxFrame?: number;
  /** Shared with other clients, as is the memory that it counts; undefined: the client has its own. */
  cork?: Cork;
  /** Sees every byte as it passes, for `--trace`. */
  tap?: Tap;
  /** This terminal, for a login at a server with that `hello`; undefined: the client is none for it. */
  terminal?(hello: Hello): ClientTerminal | undefined;
  /**
   * Returns a credential for the first login, and another after each refusal. It may ask the user: a connection that the server
   * closes meanwhile is dialled again.
   */
  credential?(hello: Hello, refused: Refused | undefined): Promise<Credential>;
  /** Returns a credential without asking the user. Called when the session is gone and its token is refused. */
  givenCredential?(): Promise<Credential | undefined>;
  /** Called after a login that began a new session because the old one was gone. */
  onNewLogin?(hello: Hello, welcome: Welcome): Promise<void>;
  /** Called before each attempt to connect. */
  onDial?(): void;
  /** Called after each step. */
  onStep?(step: Step): void;
  /** Called once when the server is not up yet and `waitMs` allows to wait. */
  onWait?(): void;
  /**
   * Called when the server turns the client away for a while, once for each time that the client is without a connection: with
   * the server's message, and the seconds until the next attempt.
   */
  onTurnedAway?(message: string, seconds: number): void;
  /** Called when the server has not asked for the shared key for a while. */
  onNoChallenge?(): void;
  /** Called for each `stderr` message: a line of a program's standard error. A promise holds the next message back. */
  onAside?(text: string): void | Promise<void>;
  /** Called when the connection is up, before the first login. @param hello undefined with `bare`. */
  onConnected?(hello: Hello | undefined): void;
}

/** The part of {@link ReconnectOptions} that the caller decides. */
export interface Retry extends Pick<
  ReconnectOptions,
  "times" | "forMs" | "resend" | "sameSession" | "isPaced" | "onLost" | "onResumed"
> {
  /** True: wait also where the server turns the first connection away for a while, within `times` and `forMs`. */
  fromStart?: boolean;
}

/** Decides whether the key behind a TLS channel is the right server's. */
export interface Trust {
  /** True when `pin` is known as this server's; false for an unknown server. @throws {ParleyError} when the pin is wrong. */
  check(pin: string): boolean;
  /**
   * Decides about an unknown server, perhaps by asking the user.
   *
   * @param vouched true when the server has proven the shared key on this channel.
   * @throws {ParleyError} when the server is not trusted.
   */
  confirmNew(pin: string, vouched: boolean): Promise<void>;
}
