// A conversation with a person at a terminal. Messages and the line that is typed go to stdout, notices to stderr; a message
// that arrives is printed above the half-typed line.

import type { Client, Outcome } from "../../client/client.ts";
import { ParleyError } from "../../base/errors.ts";
import { END_NOTICE_MS } from "../../base/limits.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { stderr, stdout } from "../../terminal/stdio.ts";
import { History, MAX_HISTORY_LINES } from "./history.ts";
import { LineEditor } from "../../terminal/line-editor.ts";
import { limitOf } from "./piped.ts";
import type { Printer } from "./printer.ts";
import type { ChatNames } from "./chat-names.ts";

/** What /help prints, each line within 80 columns. */
const HELP = [
  "Enter sends the line; //x sends /x.",
  "/help           show this help",
  "/quit, Ctrl-D   quit",
  "Ctrl-C          clear the line; twice: quit",
  "Up, Down        recall earlier lines",
];
const CHAT_HELP = [
  "Tab             complete a name",
  "/who            list the people in the chat",
  "/msg NAME TEXT  send a private message",
  "/name NAME      change your name (guests only)",
];
const WAITING = "waiting for the last answers: press Ctrl-C to quit without them";

export interface InteractiveOptions {
  /** The first line, printed once keys are read. */
  greeting: string;
  /** The file of earlier lines; undefined: none are kept. */
  historyFile: string | undefined;
  prompt: string;
  printer: Printer;
  terminal: Terminal;
  /** The names in a chat, which sends a message also back to its sender; undefined: the service is no chat. */
  chat: ChatNames | undefined;
}

/**
 * Holds the conversation until the person leaves or it ends.
 *
 * @throws {ParleyError} `interrupted` when the person left with Ctrl-C.
 */
export async function talkInteractively(client: Client, options: InteractiveOptions): Promise<Outcome> {
  // The line that is typed needs a terminal, also where the answers go to a file.
  const screen = (stdout.isTerminal ? stdout : stderr).terminal;
  let interrupted = false;
  let notice: Timer | undefined;
  const { chat, terminal } = options;
  const { historyFile } = options;
  const history =
    historyFile === undefined ? undefined : new History(historyFile, (message) => terminal.note(message));
  // A chat removes the slash from //x itself.
  const asTyped = (line: string) => (chat === undefined && line.startsWith("//") ? line.slice(1) : line);
  const asText = (line: string) => (chat !== undefined && line.startsWith("/") ? `/${line}` : line);
  const help = () => {
    for (const line of chat ? [...HELP, ...CHAT_HELP] : HELP) terminal.note(line);
  };
  const say = (line: string, text: string) => {
    const message = Buffer.from(text);
    if (message.length > client.maxFrame) {
      return terminal.note(
        `not sent: ${message.length} bytes exceed ${limitOf(client).name} of ${client.maxFrame}`,
      );
    }
    if (client.inputEnded) return terminal.note("not sent: the session is ending");
    // A chat sends the message back, and it is printed then; without a connection that may never be.
    if (chat !== undefined && !client.isReconnecting) editor.takeBack(line);
    client.send(message);
    void options.printer.sent(message);
    if (line !== "") history?.add(line);
  };
  const onLine = (line: string, isPasted: boolean) => {
    if (isPasted) say(line, asText(line));
    else if (line === "/quit") return editor.close();
    else if (line === "/help") help();
    else say(line, asTyped(line)); // commands of the service are lines, too
    editor.prompt();
  };
  const editor: LineEditor = new LineEditor({
    screen,
    prompt: options.prompt,
    historySize: MAX_HISTORY_LINES,
    history: history?.read() ?? [],
    complete: chat && ((line) => chat.complete(line)),
    onLine,
    onInterrupt() {
      interrupted = true;
      editor.close();
    },
    onClose() {
      options.terminal.aboveLine = undefined;
      if (interrupted) return client.leave();
      client.end(); // what was sent is answered before `bye`
      notice = setTimeout(() => terminal.note(WAITING), END_NOTICE_MS);
    },
  });
  options.terminal.note(options.greeting);
  editor.prompt();
  options.terminal.aboveLine = (print) => editor.printAbove(print);
  const outcome = await client.converse((payload) => {
    if (!stdout.isTerminal) return options.printer.received(payload);
    const print = () => void options.printer.received(payload);
    if (options.terminal.aboveLine === undefined) print();
    else options.terminal.aboveLine(print);
    return undefined;
  });
  clearTimeout(notice);
  options.terminal.aboveLine = undefined;
  editor.finish();
  await history?.written();
  if (interrupted) throw new ParleyError("interrupted", "interrupted");
  return outcome;
}
