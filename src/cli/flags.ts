// The arguments of a command, as typed values.

import { isAddress, lacksZone } from "../base/address.ts";
import { SharedKey } from "../auth/shared-key.ts";
import { usageError } from "../base/errors.ts";
import { readKeyFile } from "../auth/shared-key-file.ts";
import { wrong, type Kind } from "../base/option-kinds.ts";
import { decimalFraming, MAX_DIGITS } from "../wire/decimal.ts";
import { UINT32, type Framing } from "../wire/frame.ts";
import { Terminal, type ColorChoice, type SecretFlags } from "../terminal/terminal.ts";
import { labelOf, type Arguments, type FlagDef } from "./parse.ts";

/** The arguments of one invocation; `Name` is a name of the command's own definitions. */
export class Flags<Name extends string> {
  readonly #args: Arguments;

  constructor(args: Arguments) {
    this.#args = args;
  }

  has(name: Name): boolean {
    return this.#args[name] === true;
  }

  isGiven(name: Name): boolean {
    return this.#args[name] !== undefined;
  }

  text(name: Name): string | undefined {
    const value = this.#args[name];
    return typeof value === "string" ? value : undefined;
  }

  /** What was given, once or more often. */
  texts(name: Name): string[] {
    const value = this.#args[name];
    if (Array.isArray(value)) return value;
    return typeof value === "string" ? [value] : [];
  }

  /** What the flag says, as a value of `kind`; undefined where it is not given. @throws {ParleyError} `usage`. */
  read<Value>(name: Name, kind: Kind<Value>): Value | undefined {
    return this.isGiven(name) ? kind.read(this.label(name), ...this.texts(name)) : undefined;
  }

  /** How an error names the flag: as it was given, on the command line or in a configuration file. */
  label(name: Name): string {
    return labelOf(name, this.#args);
  }

  /** One of `choices`; the parser has refused any other text. */
  choice<C extends string>(name: Name, choices: readonly C[], byDefault: C): C {
    return choices.find((choice) => choice === this.text(name)) ?? byDefault;
  }
}

/** A flag that takes a value of `kind`. */
export function definitionOf({ kind, help }: { kind: Kind<unknown>; help: string }): FlagDef {
  const { hint = "", choices, isList = false } = kind;
  if (choices !== undefined) return { type: "enum", options: [...choices], description: help };
  return { type: "string", valueHint: hint, multiple: isList, description: help };
}

type CommonName = "no-input" | "color";

/** The terminal, with the colours and questions that the flags and the environment allow. */
export function terminalOf(flags: Flags<CommonName>): Terminal {
  const env = process.env["PARLEY_NO_INPUT"];
  return new Terminal({
    color: flags.choice<ColorChoice>("color", ["auto", "always", "never"], "auto"),
    noInput: flags.has("no-input") || (env !== undefined && env !== "" && env !== "0"),
  });
}

export function secretFlags(flags: Flags<"password-file" | "password-stdin">): SecretFlags {
  return { file: flags.text("password-file"), stdin: flags.has("password-stdin") };
}

/** Says that a new user's name is stored in another form than it was typed. */
export function sayStoredName(terminal: Terminal, typed: string | undefined, stored: string): void {
  if (typed !== stored) terminal.say(`the name is stored as ${stored}`);
}

/** The key that `--key-file` names. @throws {ParleyError} `usage`, or `failed` for the file. */
export function sharedKey(flags: Flags<"key-file" | "allow-md5">): SharedKey | undefined {
  const path = flags.text("key-file");
  if (path === undefined) return undefined;
  return new SharedKey(readKeyFile(path), { allowMd5: flags.has("allow-md5") });
}

/** What `--framing` takes. */
const FRAMING: Kind<Framing> = {
  hint: "uint32|decimal:N",
  read(flag, text) {
    const digits = /^decimal:([1-9]\d?)$/.exec(text)?.[1];
    if (digits !== undefined && Number(digits) <= MAX_DIGITS) return decimalFraming(Number(digits));
    if (text === UINT32.name) return UINT32;
    throw wrong(flag, "framing", text, `use uint32, or decimal:N with N digits, from 1 to ${MAX_DIGITS}`);
  },
};

/** The flag `--framing` of both sides. */
export const framingFlag = definitionOf({
  kind: FRAMING,
  help: "header of bare frames: 4 bytes, or N digits (default uint32)",
});

/** The framing that `--framing` asks for; undefined without it. @throws {ParleyError} `usage`. */
export function readFraming(flags: Flags<"framing" | "bare" | "key-file">): Framing | undefined {
  const framing = flags.read("framing", FRAMING);
  if (framing === undefined) return undefined;
  const label = flags.label("framing");
  if (!flags.has("bare"))
    throw usageError(`${label} requires --bare`, "without it, all frames have 4 bytes of length");
  if (framing !== UINT32 && flags.isGiven("key-file"))
    throw usageError(
      `${label} ${framing.name} and --key-file cannot be used together`,
      "the key exchange has frames with 4 bytes of length",
    );
  return framing;
}

/** A port from 1 (or `min`) to 65535, or undefined when `text` is none. */
export function parsePort(text: string, min = 1): number | undefined {
  const port = Number(text);
  return /^\d{1,5}$/.test(text) && port >= min && port <= 65535 ? port : undefined;
}

/** What is wrong with `text` as a port; undefined: nothing. */
export function portFlaw(text: string): string | undefined {
  return parsePort(text) === undefined ? "enter a number from 1 to 65535" : undefined;
}

/** A host without the brackets of an IPv6 address, or undefined when `text` is no host. */
export function parseHost(text: string): string | undefined {
  const host = /^\[(.*)\]$/.exec(text)?.[1] ?? text;
  if (isAddress(host)) return host;
  return /^(?=.{1,253}$)[\p{L}\p{N}_](?:[\p{L}\p{N}._-]*[\p{L}\p{N}.])?$/u.test(host) && text === host
    ? host
    : undefined;
}

/** What is wrong with `text` as a host; undefined: nothing. */
export function hostFlaw(text: string): string | undefined {
  const host = parseHost(text);
  if (host === undefined) return "enter a name or an address, such as 127.0.0.1 or example.org";
  return lacksZone(host) ? `add the network interface: ${host}%eth0` : undefined;
}

/** @throws {ParleyError} `usage` for a link-local address without its zone; the system would only say that it is invalid. */
export function checkZone(host: string): void {
  if (!lacksZone(host)) return;
  const hint = `add the network interface, for example ${host}%eth0`;
  throw usageError(`the link-local address ${host} has no zone`, hint);
}
