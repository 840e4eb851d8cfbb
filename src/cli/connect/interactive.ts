// A conversation with a person at a terminal: what a line means, and what is said of it. Messages go to stdout, the
// line that is typed too, notices to stderr; an arriving message never tears the half-typed line.

import type { Client, Outcome } from "../../client/client.ts";
import { ParleyError } from "../../base/errors.ts";
import type { Terminal } from "../../terminal/terminal.ts";
import { stderr, stdout } from "../../terminal/stdio.ts";
import { History, MAX_HISTORY_LINES } from "./history.ts";
import { LineEditor } from "../../terminal/line-editor.ts";
import type { Printer } from "./printer.ts";
import type { ChatNames } from "./chat-names.ts";

/** Each within 80 columns. */
const HELP = [
  "A line is a message, and //x sends /x. Ctrl-D or /quit leaves.",
  "Up and down bring back earlier lines. Ctrl-C drops the line; twice, it leaves.",
];
const CHAT_HELP = [
  "/who: who is here. /msg NAME TEXT: to one person. Tab completes names.",
  "/name NAME gives a guest another name.",
];
/** What goes to a chat as it is. */
const CHAT_COMMAND = /^\/(?:who|msg|name)(?: |$)/;

export interface InteractiveOptions {
  /** The first thing to see, once keys are listened to. */
  greeting: string;
  /** Where earlier lines are kept; mode 0600. Undefined: nowhere. */
  historyFile: string | undefined;
  prompt: string;
  report: Printer;
  terminal: Terminal;
  /** Who is in the conversation, when it is a chat: it says to everybody what one says, the speaker too. */
  chat: ChatNames | undefined;
}

/**
 * Holds the conversation until the person leaves or it ends.
 *
 * @throws {ParleyError} `interrupted` when the person left with Ctrl-C.
 */
export async function talkInteractively(client: Client, options: InteractiveOptions): Promise<Outcome> {
  // Answers go to stdout; the line being typed needs a terminal.
  const screen = (stdout.isTerminal ? stdout : stderr).terminal;
  let interrupted = false;
  const { chat, terminal } = options;
  const { historyFile } = options;
  const history =
    historyFile === undefined ? undefined : new History(historyFile, (message) => terminal.note(message));
  // A chat has commands of its own, and takes a slash away itself.
  const asTyped = (line: string) => (chat === undefined && line.startsWith("//") ? line.slice(1) : line);
  const asText = (line: string) => (chat !== undefined && line.startsWith("/") ? `/${line}` : line);
  /** Carries out what is a command; false when it is none of ours. */
  const obey = (line: string): boolean => {
    if (!/^\/[^/]/.test(line) || (chat !== undefined && CHAT_COMMAND.test(line))) return false;
    if (line === "/help") for (const help of chat ? [...HELP, ...CHAT_HELP] : HELP) terminal.note(help);
    else
      terminal.note(`there is no command ${line.split(" ", 1)[0]}: /help shows what there is, //x sends /x`);
    return true;
  };
  const say = (line: string, text: string) => {
    const message = Buffer.from(text);
    if (message.length > client.maxFrame) {
      return terminal.note(
        `not sent: ${message.length} bytes are over the server's limit of ${client.maxFrame}`,
      );
    }
    if (client.inputEnded) return terminal.note("not sent: the conversation is ending");
    // A chat says it again; not yet, and perhaps never, when nobody hears it now.
    if (chat !== undefined && !client.isReconnecting) editor.takeBack(line);
    client.send(message);
    options.report.sent(message);
    if (line !== "") history?.add(line);
  };
  const onLine = (line: string, isPasted: boolean) => {
    if (isPasted) say(line, asText(line));
    else if (line === "/quit")
      return client.end(); // what was sent is answered before `bye`
    else if (!obey(line)) say(line, asTyped(line));
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
      if (interrupted) client.leave();
      else client.end();
    },
  });
  options.terminal.note(options.greeting);
  editor.prompt();
  options.terminal.aboveLine = (print) => editor.printAbove(print);
  const outcome = await client.converse((payload) => {
    if (!stdout.isTerminal) return options.report.received(payload);
    const print = () => void options.report.received(payload);
    if (options.terminal.aboveLine === undefined) print();
    else options.terminal.aboveLine(print);
    return undefined;
  });
  options.terminal.aboveLine = undefined;
  editor.finish();
  await history?.written();
  if (interrupted) throw new ParleyError("interrupted", "interrupted");
  return outcome;
}
