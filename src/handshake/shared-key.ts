// The mutual challenge and response of the shared key (wire protocol, section 2), both halves, in this order:
//
//     server                        client
//     #CHALLENGE# ‖ M1         →
//                              ←    response(M1)
//     #WELCOME# or #FAILURE#   →
//                              ←    #CHALLENGE# ‖ M2
//     response(M2)             →
//                              ←    #WELCOME# or #FAILURE#

import { KeyError, type ConnectionKey, type KeySide } from "../auth/shared-key.ts";
import { MAX_KEY_FRAME_BYTES } from "../base/limits.ts";
import type { Connection } from "../net/connection.ts";
import { HandshakeError } from "./errors.ts";

const CHALLENGE = Buffer.from("#CHALLENGE#");
const WELCOME = Buffer.from("#WELCOME#");
const FAILURE = Buffer.from("#FAILURE#");

/**
 * The server's half: challenges the client, then answers its challenge.
 *
 * @throws {KeyError} when the client has a different key or none, or sends a challenge that must not be answered; it got an answer.
 * @throws {HandshakeError} `key_refused` when it has left.
 */
export async function exchangeKeyAsServer(connection: Connection, key: ConnectionKey): Promise<void> {
  connection.decoder.limit = MAX_KEY_FRAME_BYTES;
  const read = async () => {
    const payload = await connection.read();
    if (payload !== null) return payload;
    // Its connection may have been lost: that is not a wrong key.
    throw new HandshakeError("key_refused", "the peer left during the key exchange: it may have no key", {
      offence: "no-login",
    });
  };
  const exchange: Exchange = { connection, key, side: "server", read };
  await challengePeer(exchange);
  await answerChallenge(exchange, await receive(exchange));
}

/**
 * The client's half: answers the server's challenge, then challenges the server.
 *
 * @param first the server's first payload, which {@link isChallenge}.
 * @param read the next payload; throws when the connection has ended, or the payload is an `error` message.
 * @throws {KeyError} as {@link exchangeKeyAsServer}.
 */
export async function exchangeKeyAsClient(
  connection: Connection,
  key: ConnectionKey,
  first: Uint8Array,
  read: () => Promise<Uint8Array>,
): Promise<void> {
  const exchange: Exchange = { connection, key, side: "client", read };
  await answerChallenge(exchange, first);
  await challengePeer(exchange);
}

/** True for the first message of a server with a shared key. */
export function isChallenge(payload: Uint8Array): boolean {
  return startsWith(payload, CHALLENGE);
}

/** Informs a server without a shared key that this client expected one. */
export function sayKeyMissing(connection: Connection): void {
  connection.send(FAILURE);
}

/** True for the message of {@link sayKeyMissing}. */
export function isKeyMissing(payload: Uint8Array): boolean {
  return FAILURE.equals(payload);
}

interface Exchange {
  connection: Connection;
  key: ConnectionKey;
  /** The side of this peer. */
  side: KeySide;
  read(): Promise<Uint8Array>;
}

async function challengePeer(exchange: Exchange): Promise<void> {
  const { connection, key, side } = exchange;
  const challenge = key.challenge(side);
  try {
    connection.send(Buffer.concat([CHALLENGE, challenge]));
    key.verify(challenge, await receive(exchange));
    connection.send(WELCOME);
  } catch (error) {
    if (error instanceof KeyError) connection.send(FAILURE);
    throw error;
  } finally {
    key.settle(challenge);
  }
}

async function answerChallenge(exchange: Exchange, payload: Uint8Array): Promise<void> {
  const { connection, key, side } = exchange;
  if (!isChallenge(payload)) {
    throw new KeyError("bad_challenge", "the peer did not send its challenge");
  }
  connection.send(key.respond(side, Buffer.from(payload.subarray(CHALLENGE.length))));
  if (WELCOME.equals(await receive(exchange))) return;
  throw new KeyError("bad_response", "the peer has a different key: it refused our response");
}

async function receive(exchange: Exchange): Promise<Buffer> {
  return Buffer.from(await exchange.read());
}

function startsWith(payload: Uint8Array, start: Buffer): boolean {
  return start.equals(payload.subarray(0, start.length));
}
