// The adapter of parley.ts for the cases of clients/conformance.
//
//     bun clients/conformance/run.ts -- bun clients/typescript/conformance.ts [tls-server-end-point]

import { readFileSync } from "node:fs";
import { linesOf } from "../conformance/lines.ts";
import { connect, ParleyError, type ConnectOptions, type Session } from "./parley.ts";

type Json = Record<string, unknown>;
type Settings = Omit<ConnectOptions, "ca"> & { resume?: boolean; ca?: string; max_frame?: number };

const binding = process.argv[2] as ConnectOptions["binding"];
const PARTS = ["login", "password", "register", "token", "key", "tls", "control", "resume", "bare"];
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
let session: Session<Uint8Array> | undefined;
let unsent: ParleyError | undefined;

function report(event: Json): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function content(message: Uint8Array): Json {
  try {
    return { text: UTF8.decode(message) };
  } catch {
    return { base64: Buffer.from(message).toString("base64") };
  }
}

/** Has one conversation. */
async function converse({ resume, ca, max_frame, ...settings }: Settings): Promise<void> {
  try {
    session = await connect({
      ...settings,
      ...(ca === undefined ? {} : { ca: readFileSync(ca) }),
      ...(max_frame === undefined ? {} : { maxFrame: max_frame }),
      ...(binding === undefined ? {} : { binding }),
      resumeFor: resume === true ? 60 : 0,
      wantsToken: true,
      bytes: true,
    });
    const { user, token } = session.welcome ?? {};
    report({ event: "connected", user, token });
    for await (const message of session) report({ event: "message", ...content(message) });
    if (unsent !== undefined) throw unsent;
    report({ event: "done" });
  } catch (error) {
    if (!(error instanceof ParleyError)) throw error;
    const { code, message, attemptsLeft, retryAfter } = error;
    report({ event: "error", code, message, attempts_left: attemptsLeft, retry_after: retryAfter });
  } finally {
    session = unsent = undefined;
  }
}

/** A message that cannot be sent ends the conversation. */
async function send(to: Session<Uint8Array> | undefined, message: string | Uint8Array): Promise<void> {
  try {
    await to?.send(message);
  } catch (error) {
    if (to !== session || !(error instanceof ParleyError) || error.code !== "too_long") return;
    unsent = error;
    to?.close();
  }
}

report({ event: "ready", parts: PARTS });
for await (const line of linesOf(process.stdin)) {
  const { do: what, text, base64, ...settings } = JSON.parse(line) as Json;
  if (what === "connect") void converse(settings as unknown as Settings);
  else if (what === "send") {
    void send(session, typeof text === "string" ? text : Buffer.from(String(base64), "base64"));
  } else if (what === "end") void session?.end();
  else if (what === "close") session?.close();
}
