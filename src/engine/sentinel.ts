// Where the engine is. Sentinels are asked for it in turn, at each connection, since they choose another one when it fails.

import { SENTINEL_TIMEOUT_MS } from "../base/limits.ts";
import { EngineError } from "./engine-error.ts";
import { explainFailure, explainReply, placeOf, type Asked } from "./explain.ts";
import { RawConnection, RawFailure, tlsOptions } from "./raw-connection.ts";
import { ErrorReply, type RawReply } from "./raw-reply.ts";
import { loginOf, readAddress, type EngineAccess, type EngineAddress, type TcpAddress } from "./store-url.ts";

/** @throws {EngineError} when no sentinel says it, with the reason of one. */
export async function locate(access: EngineAccess, signal?: AbortSignal): Promise<EngineAddress> {
  const { at } = access.target;
  if (at.kind !== "sentinel") return at;
  let flaw: EngineError | undefined;
  for (const address of at.addresses) {
    signal?.throwIfAborted();
    const answer = await askSentinel({ access, address, what: "sentinel" }, at.master, signal);
    if (!(answer instanceof EngineError)) return answer;
    if (flaw === undefined || (flaw.code === "unreachable" && answer.code === "refused")) flaw = answer;
  }
  throw flaw ?? new EngineError("unreachable", "there is no sentinel");
}

async function askSentinel(
  asked: Asked,
  master: string,
  signal: AbortSignal | undefined,
): Promise<TcpAddress | EngineError> {
  const { access, address } = asked;
  const options = { address, tls: tlsOptions(access, address), timeoutMs: SENTINEL_TIMEOUT_MS, signal };
  try {
    return await RawConnection.with(options, (connection) => askMaster(connection, asked, master));
  } catch (error) {
    if (!(error instanceof RawFailure)) throw error;
    return explainFailure(asked, error);
  }
}

/** Sentinels often have no password: the engine's one is sent only where one is required. */
async function askMaster(
  connection: RawConnection,
  asked: Asked,
  master: string,
): Promise<TcpAddress | EngineError> {
  const question = ["SENTINEL", "get-master-addr-by-name", master] as const;
  const login = loginOf(asked.access);
  let reply = await connection.ask(...question);
  if (isRefusal(reply) && login !== undefined) {
    const admission = await connection.ask("AUTH", ...login);
    if (admission instanceof ErrorReply) return explainReply(asked, "AUTH", admission);
    reply = await connection.ask(...question);
  }
  if (reply instanceof ErrorReply) return explainReply(asked, "SENTINEL", reply);
  if (!Array.isArray(reply))
    return new EngineError("refused", `${placeOf(asked)} knows no master ${master}`, {
      hint: "use the name after `sentinel monitor` in its configuration",
    });
  const named = readAddress(reply[0], reply[1]);
  return named ?? new EngineError("refused", `${placeOf(asked)} answers without an address`);
}

function isRefusal(reply: RawReply): boolean {
  return reply instanceof ErrorReply && /^(?:NOAUTH|NOPERM)\b/.test(reply.text);
}
