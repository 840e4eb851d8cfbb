// Asks once for each server whether its program may draw on this terminal: what it writes is not escaped there.

import { ParleyError } from "../../base/errors.ts";
import type { ClientState } from "../../client/client-state.ts";
import { FileError } from "../../files/file-error.ts";
import type { Terminal } from "../../terminal/terminal.ts";

/**
 * @param isGiven `--pty`: no question.
 * @throws {ParleyError} `failed` when the program may not draw.
 */
export async function permitDrawing(
  server: string,
  { state, terminal, isGiven }: { state: ClientState; terminal: Terminal; isGiven: boolean },
): Promise<void> {
  if (isGiven || state.mayDraw(server)) return;
  if (!terminal.canAsk) {
    throw new ParleyError(
      "failed",
      `the program of ${server} draws on the terminal, and was not allowed to`,
      {
        hint: "allow it with --pty, if you trust the server; or send and print lines: … | parley connect … | cat",
      },
    );
  }
  terminal.say(
    `${server} runs a program on a terminal. What it writes goes to yours as it is, and your terminal obeys it.`,
  );
  if (!(await terminal.confirm("do you trust this server that far?", false))) {
    throw new ParleyError("failed", `the program of ${server} may not draw on this terminal`, {
      hint: "send and print lines: … | parley connect … | cat",
    });
  }
  try {
    await state.allowDrawing(server);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    terminal.say(`the answer is not saved: ${error.message}`);
  }
}
