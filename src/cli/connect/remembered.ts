// What the client has stored about servers: `--sessions` lists tokens, `--forget` removes the key of a server.

import { parseToken } from "../../auth/token.ts";
import { ParleyError, usageError } from "../../base/errors.ts";
import { escapeJson, escapeLine } from "../../base/escape.ts";
import type { ClientState } from "../../client/client-state.ts";
import { stdout } from "../../terminal/stdio.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import type { Target } from "./flags.ts";

export function listTokens(state: ClientState, terminal: Terminal, json: boolean): void {
  const tokens = state.tokens();
  if (tokens.length === 0 && terminal.isWatched) terminal.note("no stored session tokens");
  for (const { server, user, token, expires } of tokens) {
    const id = parseToken(token)?.id ?? "?";
    const line = json
      ? escapeJson({ server, user, id, expires })
      : escapeLine(`${id}  ${user}@${server}  until ${expires}`);
    void stdout.write(`${line}\n`);
  }
}

/**
 * Forgets the key of a server, and that its program may draw on the terminal.
 *
 * @param path the file of the servers' keys. @throws {ParleyError} `usage`, or `failed` when nothing is known.
 */
export async function forgetServer(
  { server, user }: Target,
  state: ClientState,
  path: string,
  terminal: Terminal,
): Promise<void> {
  if (user !== undefined)
    throw usageError("--forget takes a server without a user", `use --forget ${server}`);
  const couldDraw = await state.forbidDrawing(server);
  if (await state.forgetPin(server))
    return terminal.say(`forgot the key of ${server}; session tokens are kept`);
  if (couldDraw) return terminal.say(`forgot that ${server} may draw on the terminal`);
  throw new ParleyError("failed", `no stored key of ${server}`, { hint: `see the stored keys in ${path}` });
}
