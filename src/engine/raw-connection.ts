// A connection to an engine or a sentinel that says exactly why it fails. It asks one question after the other.
//
// Bun's client serves for everything else: it is faster, and says only "Connection closed".

import type { X509Certificate } from "node:crypto";
import type { Socket, TLSOptions } from "bun";
import { onAbort } from "../base/abort.ts";
import { lookupName } from "../base/address.ts";
import { systemCode } from "../base/errors.ts";
import { MAX_RAW_REPLY_BYTES } from "../base/limits.ts";
import { parseReply, type RawReply } from "./raw-reply.ts";
import type { EngineAccess, EngineAddress } from "./store-url.ts";

/**
 * `dial`: no connection. `tls`: no trusted channel. `closed`: the other side closed the connection without an answer. `silent`: no answer in
 * time. `foreign`: the other side speaks another protocol. `identity`: this side's certificate or key cannot be used.
 */
export type RawFailureKind = "dial" | "tls" | "closed" | "silent" | "foreign" | "identity";

export class RawFailure extends Error {
  override name = "RawFailure";
  readonly kind: RawFailureKind;
  /** The code of the system or of the TLS library. */
  readonly code: string | undefined;
  /** The certificate that is not trusted. */
  readonly certificate: X509Certificate | undefined;
  /** The address accepted a connection. */
  wasReached = false;
  /** There was a connection, with TLS where that was wanted. */
  wasEstablished = false;

  constructor(kind: RawFailureKind, code?: string, certificate?: X509Certificate) {
    super(`${kind} ${code ?? ""}`);
    this.kind = kind;
    this.code = code;
    this.certificate = certificate;
  }
}

export interface RawOptions {
  address: EngineAddress;
  /** Undefined: plain text. */
  tls: TLSOptions | undefined;
  /** For the whole conversation. */
  timeoutMs: number;
  signal: AbortSignal | undefined;
}

export class RawConnection implements Disposable {
  readonly #established = Promise.withResolvers<void>();
  #socket: Socket<unknown> | undefined;
  #isEstablished = false;
  #received = Buffer.alloc(0);
  #answer: PromiseWithResolvers<RawReply> | undefined;
  #failure: RawFailure | undefined;

  private constructor() {}

  /**
   * Connects, calls `converse`, and closes the connection.
   *
   * @throws {RawFailure} `silent` after `timeoutMs`, or when `signal` is aborted.
   */
  static async with<T>(
    { address, tls, timeoutMs, signal }: RawOptions,
    converse: (connection: RawConnection) => Promise<T>,
  ): Promise<T> {
    using connection = new RawConnection();
    const fallSilent = () => connection.#fail(new RawFailure("silent"));
    using _ = onAbort(signal, fallSilent);
    const timer = setTimeout(fallSilent, timeoutMs);
    try {
      void connection.#dial(address, tls);
      await connection.#established.promise;
      return await converse(connection);
    } finally {
      clearTimeout(timer);
    }
  }

  /** @throws {RawFailure} */
  async ask(...words: string[]): Promise<RawReply> {
    if (this.#failure !== undefined && this.#received.length === 0) throw this.#failure;
    this.#answer = Promise.withResolvers();
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    const { promise } = this.#answer;
    this.#socket?.write(`*${words.length}\r\n${parts.join("")}`);
    this.#parse();
    if (this.#failure !== undefined) this.#fail(this.#failure);
    return await promise;
  }

  [Symbol.dispose](): void {
    this.#fail(new RawFailure("closed"));
  }

  async #dial(address: EngineAddress, tls: TLSOptions | undefined): Promise<void> {
    const socket = {
      open: (opened: Socket<unknown>) => {
        this.#socket = opened;
        if (this.#failure !== undefined) opened.terminate();
        else if (tls === undefined) this.#establish();
      },
      data: (_: Socket<unknown>, chunk: Buffer) => this.#take(chunk),
      close: (_: Socket<unknown>, error?: Error) => this.#fail(new RawFailure("closed", systemCode(error))),
      error: (_: Socket<unknown>, error: Error) => this.#fail(new RawFailure("closed", systemCode(error))),
    };
    const handshake = (opened: Socket<unknown>, _: boolean, error: Error | null) => {
      if (error === null && opened.authorized) return this.#establish();
      this.#fail(new RawFailure("tls", systemCode(error), opened.getPeerX509Certificate()));
    };
    const handlers = tls === undefined ? { socket } : { socket: { ...socket, handshake }, tls };
    try {
      if (address.kind === "unix") await Bun.connect({ unix: address.path, ...handlers });
      else await Bun.connect({ hostname: lookupName(address.host), port: address.port, ...handlers });
    } catch (error) {
      const code = systemCode(error);
      this.#fail(new RawFailure(code?.startsWith("ERR_") === true ? "identity" : "dial", code));
    }
  }

  #establish(): void {
    this.#isEstablished = true;
    this.#established.resolve();
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    this.#parse();
    if (this.#received.length > MAX_RAW_REPLY_BYTES) this.#fail(new RawFailure("foreign"));
  }

  #parse(): void {
    if (this.#answer === undefined) return;
    try {
      const parsed = parseReply(this.#received);
      if (parsed === undefined) return;
      this.#received = this.#received.subarray(parsed.end);
      this.#answer.resolve(parsed.reply);
      this.#answer = undefined;
    } catch {
      this.#fail(new RawFailure("foreign"));
    }
  }

  /** Ends the connection; the first failure counts. */
  #fail(failure: RawFailure): void {
    this.#failure ??= failure;
    this.#failure.wasReached ||= this.#socket !== undefined;
    this.#failure.wasEstablished ||= this.#isEstablished;
    this.#socket?.terminate();
    if (!this.#isEstablished) this.#established.reject(this.#failure);
    this.#answer?.reject(this.#failure);
    this.#answer = undefined;
  }
}

/** What TLS with an engine needs; undefined for plain text. */
export function tlsOptions(
  { target, ca, cert, key }: EngineAccess,
  address: EngineAddress,
): TLSOptions | undefined {
  if (!target.tls || address.kind === "unix") return undefined;
  return { ca, cert, key, rejectUnauthorized: true, serverName: address.host };
}
