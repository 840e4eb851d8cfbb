// The names in a chat, as its messages have them: each has a colour, and Tab completes it.
//
//     ann: hello        * ann joined        * here: ann, bob        ann → bob: hello

import { styleText } from "node:util";
import { BoundedMap } from "../../base/bounded-map.ts";

/** Names that are kept for Tab: a server may send any number of them. */
const MAX_NAMES = 1000;

const NAME = "[\\p{L}\\p{N}][\\p{L}\\p{M}\\p{N}._-]{0,31}";
const SPEECH = new RegExp(`^(${NAME})(?: → (${NAME}))?: `, "u");
const NOTICE = new RegExp(
  `^\\* (?:here: (${NAME}(?:, ${NAME})*)|(${NAME}) (joined|left|is now (${NAME})))$`,
  "u",
);
/** Colours that can be read on black and on white; red is for errors. */
const COLORS = [
  "cyan",
  "green",
  "magenta",
  "yellow",
  "blue",
  "cyanBright",
  "greenBright",
  "magentaBright",
] as const;

export class ChatNames {
  readonly #names = new BoundedMap<string, true>(MAX_NAMES);
  readonly #hasColor: boolean;

  constructor(hasColor: boolean) {
    this.#hasColor = hasColor;
  }

  /** Colours a line, and remembers the names in it. The line must be escaped already. */
  show(line: string): string {
    const [start, speaker, listener] = SPEECH.exec(line) ?? [];
    if (start !== undefined && speaker !== undefined) {
      this.#names.set(speaker, true);
      if (listener !== undefined) this.#names.set(listener, true);
      return this.#paint(colorOf(speaker), start.trimEnd()) + line.slice(start.trimEnd().length);
    }
    if (!line.startsWith("* ")) return line;
    this.#takeNotice(line);
    return this.#paint("dim", line);
  }

  /** Completions of a half-typed line for readline: the candidates, and the word that they complete. */
  complete(line: string): [string[], string] {
    const word = /\S*$/u.exec(line)?.[0] ?? "";
    if (word === "") return [[], word];
    const commands = word === line && word.startsWith("/") ? COMMANDS : [];
    const isFirst = word === line;
    const found = [...this.#names.keys()]
      .filter((name) => name.toLowerCase().startsWith(word.toLowerCase()))
      .map((name) => (isFirst ? `${name}: ` : `${name} `));
    return [
      [...commands.filter((command) => command.startsWith(word)).map((command) => `${command} `), ...found],
      word,
    ];
  }

  #takeNotice(line: string): void {
    const [, here, name, what, now] = NOTICE.exec(line) ?? [];
    if (here !== undefined) {
      this.#names.clear();
      for (const one of here.split(", ")) this.#names.set(one, true);
    }
    if (name === undefined) return;
    if (what === "joined") this.#names.set(name, true);
    else this.#names.delete(name);
    if (now !== undefined) this.#names.set(now, true);
  }

  #paint(style: Parameters<typeof styleText>[0], text: string): string {
    return this.#hasColor ? styleText(style, text, { validateStream: false }) : text;
  }
}

/** Commands of the chat and of the client. */
const COMMANDS = ["/who", "/msg", "/name", "/help", "/quit"];

/** A name has the same colour in every client. */
function colorOf(name: string): (typeof COLORS)[number] {
  let hash = 0;
  for (const character of name) hash = (31 * hash + (character.codePointAt(0) ?? 0)) >>> 0;
  return COLORS[hash % COLORS.length] ?? "cyan";
}
