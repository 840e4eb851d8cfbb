// Durable sessions by hand: logging in to come back, coming back, and what is said then.

import { proveToken, RESUME_LABEL } from "../../src/auth/token.ts";
import { within } from "./attack.ts";
import { Peer, type Frame } from "./peer.ts";

export type Json = Record<string, unknown>;

/** A login that promises to come back. */
export const DURABLE = { control: true, resume_for: 60 };

export interface Resume {
  session: string;
  key: Buffer;
}

/** What `welcome` gave to come back with. */
export function resumeOf(welcome: Json): Resume {
  return {
    session: String(welcome["session"]),
    key: Buffer.from(String(welcome["resume_key"]), "base64"),
  };
}

/** The login that comes back to a session on a connection that began with `hello`. */
export function resumeLogin(
  { session, key }: Resume,
  received: number,
  hello: Json,
  binding: Uint8Array = Buffer.alloc(0),
): Json {
  const nonce = Buffer.from(String(hello["nonce"]), "base64");
  const proof = proveToken(key, RESUME_LABEL, nonce, binding).toString("base64");
  return { type: "login", method: "resume", session, proof, received };
}

/** Comes back over a new connection from 127.0.0.1: the peer, and what the server said to that. */
export async function reconnect(port: number, resume: Resume, received: number): Promise<[Peer, Json]> {
  const peer = await Peer.connect(port);
  const hello = await peer.message();
  peer.json(resumeLogin(resume, received, hello));
  return [peer, await within("an answer to resume", peer.message())];
}

/** The next `count` payloads, as text; control frames are passed over. */
export async function payloads(peer: Peer, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) {
    const next = await within(`payload ${texts.length + 1} of ${count}`, peer.frame());
    if (next === null) throw new Error(`the stream ended after ${texts.length} payloads: ${texts.join()}`);
    if (!next.control) texts.push(next.payload.toString());
  }
  return texts;
}

/** Frames that say something: no acknowledgements. */
export function split(frames: Frame[]): { said: string[]; controls: Json[] } {
  const said = frames.filter(({ control }) => !control).map(({ payload }) => payload.toString());
  const controls = frames
    .filter(({ control }) => control)
    .map(({ payload }) => JSON.parse(payload.toString()) as Json);
  return { said, controls: controls.filter(({ type }) => type !== "ack") };
}
