// What the output of a program has set on a terminal, so that it can be ended when the program cannot do it any more: its connection
// is lost, or the client leaves. Without that a person would get a hidden cursor, letters for each move of the mouse, or codes for
// Ctrl-C. Only what is not so on a new terminal counts. Nothing here clears the screen or moves the cursor for long.

/** Modes of DEC and xterm that programs set with `CSI ? N h`. */
const MODES: ReadonlySet<string> = new Set(
  // Keys of the cursor, keypad, reverse video, margins left and right.
  ["1", "66", "5", "69"].concat(
    // Screens; mouse: buttons, moves, encodings.
    ["47", "1047", "1049", "9", "1000", "1001", "1002", "1003", "1005", "1006", "1015", "1016"],
    // Reports: focus, pastes, colours, size; keys as in Windows.
    ["1004", "2004", "2031", "2048", "9001"],
  ),
);
/** Modes that a new terminal has: the cursor is shown, and lines wrap. */
const MODES_BY_DEFAULT: ReadonlySet<string> = new Set(["7", "25"]);
const ALTERNATE_SCREENS = ["?47", "?1047", "?1049"];

/** The deepest stack of keyboard modes that is followed: kitty has 8 entries. */
const MAX_KEYBOARDS = 16;

/**
 * The bytes that matter: the end of a string, shifts between character sets, and an escape sequence: `CSI`, a character set, the begin
 * of a string, the keypad, a reset of all.
 */
const SEQUENCE =
  // oxlint-disable-next-line no-control-regex
  /[\u0007\u000e\u000f]|\u001b(?:\[([<=>?]?)([\d;:]{0,40})( ?)([@-~])|([()])([ -~])|([\]PX^_])(8;)?|[=>c\\])/g;
/** The begin of such a sequence at the end of a chunk; a longer one is none. */
// oxlint-disable-next-line no-control-regex
const UNFINISHED = /\u001b(?:\[[<=>?]?[\d;:]{0,40} ?|[()]|\]8?)?$/;
const BELL = 0x07;
const CONTROLS = [0x0e, 0x0f, 0x1b];

/** Ends a string for the terminal, and any other sequence that is not whole. */
const STRING_END = "\u001b\\";
const SAVE_CURSOR = "\u001b7";
const RESTORE_CURSOR = "\u001b8";

/** The sequence that ends what was set, and the one that sets it again. */
interface Setting {
  end: string;
  again: string;
}

export class ScreenModes {
  /** In the order in which they were set; they are ended in the reverse order, as the alternate screen has some of its own. */
  readonly #settings = new Map<string, Setting>();
  #unfinished = "";
  /** True inside of a string for the terminal, such as a title or an image, which would swallow what follows. */
  #isInString = false;
  /** True when the output had escape sequences, and so perhaps colours. */
  #hasSequences = false;

  /** True while the program draws on the alternate screen, as full-screen programs do. */
  get isAlternate(): boolean {
    return ALTERNATE_SCREENS.some((mode) => this.#settings.has(mode));
  }

  /** True while a line that is too long goes on in the next row. */
  get wraps(): boolean {
    return !this.#settings.has("?7");
  }

  /** Follows a piece of output. */
  push(output: Uint8Array): void {
    const isPlain = this.#unfinished === "" && !CONTROLS.some((byte) => output.includes(byte));
    if (isPlain && !(this.#isInString && output.includes(BELL))) return;
    this.#hasSequences = true;
    const text = this.#unfinished + Buffer.from(output).toString("latin1");
    for (const found of text.matchAll(SEQUENCE)) this.#follow(found);
    this.#unfinished = UNFINISHED.exec(text)?.[0] ?? "";
  }

  /** A text of parley's own, for its place after the output, which may have been cut inside of a sequence. */
  between(text: string): string {
    if (this.#isInString) return `${STRING_END}${text}`;
    return this.#unfinished === "" ? text : `${STRING_END}${text}${this.#unfinished}`;
  }

  /** The sequences that end all of this, and colours. */
  end(): string {
    if (!this.#hasSequences) return "";
    const ends = [...this.#settings.values()].reverse().map(({ end }) => end);
    return `${this.#isInString ? STRING_END : ""}\x1b[m${ends.join("")}`;
  }

  /** The sequences that set it again. */
  restore(): string {
    return [...this.#settings.values()].map(({ again }) => again).join("");
  }

  #follow(found: RegExpExecArray): void {
    const [sequence, prefix, values = "", space, final, set, charset, string, link] = found;
    if (sequence === "\x07" || sequence === STRING_END) this.#isInString = false;
    else if (string !== undefined) this.#isInString = true;
    if (final !== undefined) this.#control(sequence, `${prefix}${space}${final}`, values.split(";"));
    else if (set !== undefined) this.#set(set, charset !== "B", { end: `\x1b${set}B`, again: sequence });
    else if (link !== undefined) this.#set("link", true, { end: `\x1b]8;;${STRING_END}`, again: "" });
    else if (sequence === "\x0e") this.#set("shift", true, { end: "\x0f", again: sequence });
    else if (sequence === "\x0f") this.#set("shift", false);
    else if (sequence === "\x1bc") this.#settings.clear();
    else if (sequence === "\x1b=") this.#set("keypad", true, { end: "\x1b>", again: sequence });
    else if (sequence === "\x1b>") this.#set("keypad", false);
  }

  /** A sequence of `CSI`. @param kind its bytes but for the values. */
  #control(sequence: string, kind: string, values: string[]): void {
    const [first = "", second = ""] = values;
    const isZero = /^0*$/.test(first);
    switch (kind) {
      case "?h":
      case "?l":
        return values.forEach((mode) => this.#mode(mode, kind === "?h"));
      case "h":
      case "l": // inserting
        return values.includes("4")
          ? this.#set("insert", kind === "h", { end: "\x1b[4l", again: "\x1b[4h" })
          : undefined;
      case "r": {
        const again = `${SAVE_CURSOR}${sequence}${RESTORE_CURSOR}`;
        return this.#set("region", `${first}${second}` !== "", {
          end: `${SAVE_CURSOR}\x1b[r${RESTORE_CURSOR}`,
          again,
        });
      }
      case " q": // the shape of the cursor
        return this.#set("shape", !isZero, { end: "\x1b[0 q", again: sequence });
      case ">m": // keys as codes: xterm's modifyOtherKeys and its kin
        if (!/^[0-7]$/.test(first)) return;
        return this.#set(`>${first}`, !/^0*$/.test(second), { end: `\x1b[>${first};0m`, again: sequence });
      case ">n":
        return this.#set(`>${first}`, false);
      case ">u": // keys as codes: kitty's protocol, with a stack
        return this.#pushKeyboard(sequence);
      case "<u":
        return this.#popKeyboards(isZero ? 1 : Number(first));
      case "=u":
        return this.#set("=u", !(isZero && /^1?$/.test(second)), { end: "\x1b[=0u", again: sequence });
    }
  }

  #mode(mode: string, isOn: boolean): void {
    const key = `?${mode}`;
    const [on, off] = [`\x1b[${key}h`, `\x1b[${key}l`];
    if (MODES_BY_DEFAULT.has(mode)) return this.#set(key, !isOn, { end: on, again: off });
    // Origin at the top of the region: its end moves the cursor there.
    if (mode === "6") return this.#set(key, isOn, { end: `${off}\x1b[999;1H`, again: on });
    // An update that is shown at once: it lasts for a moment only.
    if (mode === "2026") return this.#set(key, isOn, { end: off, again: "" });
    if (!MODES.has(mode)) return;
    if (!isOn && ALTERNATE_SCREENS.includes(key)) this.#forgetKeyboardsSince(key);
    this.#set(key, isOn, { end: off, again: on });
  }

  #set(key: string, isOn: boolean, setting?: Setting): void {
    this.#settings.delete(key);
    if (isOn && setting !== undefined) this.#settings.set(key, setting);
  }

  #pushKeyboard(sequence: string): void {
    const depth = this.#keyboards().length;
    if (depth < MAX_KEYBOARDS) this.#set(`u${depth}`, true, { end: "\x1b[<u", again: sequence });
  }

  #popKeyboards(count: number): void {
    for (const key of this.#keyboards().slice(-count)) this.#settings.delete(key);
  }

  #keyboards(): string[] {
    return [...this.#settings.keys()].filter((key) => key.startsWith("u"));
  }

  /** Each screen has a stack of its own. */
  #forgetKeyboardsSince(screen: string): void {
    const keys = [...this.#settings.keys()];
    const at = keys.indexOf(screen);
    if (at < 0) return;
    for (const key of keys.slice(at)) if (/^u|^=u/.test(key)) this.#settings.delete(key);
  }
}
