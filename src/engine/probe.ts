// Finds out why an engine cannot be reached, since Bun's client says "Connection closed" for every failure.

import { ENGINE_EXAMINATION_MS } from "../base/limits.ts";
import type { EngineError } from "./engine-error.ts";
import { explainFailure, explainReply, placeOf, wrongChannel, type Asked } from "./explain.ts";
import { RawConnection, RawFailure, tlsOptions } from "./raw-connection.ts";
import { ErrorReply, type RawReply } from "./raw-reply.ts";
import { roleFlaw } from "./role.ts";
import { loginOf, type EngineAccess, type EngineAddress } from "./store-url.ts";

/** Why an engine cannot be used, within 2 s; undefined when the engine can be used. */
export async function examine(
  access: EngineAccess,
  address: EngineAddress,
  signal?: AbortSignal,
): Promise<EngineError | undefined> {
  const asked: Asked = { access, address, what: "store" };
  try {
    return await RawConnection.with(
      { address, tls: tlsOptions(access, address), timeoutMs: ENGINE_EXAMINATION_MS, signal },
      (connection) => converse(connection, asked),
    );
  } catch (error) {
    if (!(error instanceof RawFailure)) throw error;
    return await explain(asked, error, signal);
  }
}

/** The reason for a failure of a connection as `--store` has it: perhaps the other kind of connection works. */
export async function explain(
  asked: Asked,
  failure: RawFailure,
  signal: AbortSignal | undefined,
): Promise<EngineError> {
  const { address, access } = asked;
  const hasAnswered = failure.certificate !== undefined || (access.target.tls && failure.wasEstablished);
  const isOpen = failure.wasReached && !hasAnswered && address.kind === "tcp" && signal?.aborted !== true;
  if (isOpen && (await speaks(asked, !access.target.tls, signal))) return wrongChannel(asked);
  return explainFailure(asked, failure);
}

/** Does it speak TLS, or Redis in plain text? */
async function speaks({ address }: Asked, tls: boolean, signal: AbortSignal | undefined): Promise<boolean> {
  const options = {
    address,
    tls: tls ? { rejectUnauthorized: true } : undefined,
    timeoutMs: ENGINE_EXAMINATION_MS,
    signal,
  };
  try {
    await RawConnection.with(options, (connection) => connection.ask("PING"));
    return true;
  } catch (error) {
    if (!(error instanceof RawFailure)) throw error;
    return tls && (error.certificate !== undefined || error.wasEstablished);
  }
}

async function converse(connection: RawConnection, asked: Asked): Promise<EngineError | undefined> {
  const { access } = asked;
  const login = loginOf(access);
  const steps = [
    ...(login === undefined ? [] : [["AUTH", ...login]]),
    ["HELLO", "2"],
    ...(access.target.db === 0 ? [] : [["SELECT", String(access.target.db)]]),
    ["PING"],
  ];
  for (const [command = "", ...args] of steps) {
    const reply = await connection.ask(command, ...args);
    const flaw = flawOf(asked, command, reply);
    if (flaw !== undefined) return flaw;
  }
  return undefined;
}

function flawOf(asked: Asked, command: string, reply: RawReply): EngineError | undefined {
  if (command === "HELLO" && Array.isArray(reply)) {
    const member = (name: string): unknown => reply[reply.indexOf(name) + 1];
    return roleFlaw(asked.access, placeOf(asked), member("role"), member("mode"));
  }
  // A user of parley needs no right to PING, which shows whether the engine is loading.
  if (!(reply instanceof ErrorReply) || (command === "PING" && reply.text.startsWith("NOPERM")))
    return undefined;
  return explainReply(asked, command, reply);
}
