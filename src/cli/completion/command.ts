// parley help completion: the scripts with which a shell completes commands of parley. A script asks this command what may stand at
// the cursor, so that it needs no list of its own:
//
//     parley help completion bash -- parley users passwd --data /srv/p an
//
//     words                    then a candidate on each line, a tab, and what it is for
//     files                    or `folders`: the shell completes them
//     command                  of another program: the shell knows better

import { homedir } from "node:os";
import { defineCommand } from "citty";
import { usageError } from "../../base/errors.ts";
import { escapeLine } from "../../base/escape.ts";
import { stdout } from "../../terminal/stdio.ts";
import { Flags } from "../flags.ts";
import { about, type Arguments, type Command, type FlagsDef } from "../parse.ts";
import { findKnown } from "./known.ts";
import { findPlace, type Candidate, type Place } from "./place.ts";
import { SCRIPTS } from "./scripts.ts";

const SHELLS = [...SCRIPTS.keys()];

/** More are of no help to a person, and slow in a shell. */
const MAX_CANDIDATES = 1000;

const HOW = `The Tab key can complete the commands of parley, their flags and values, the
names of users, and the servers that you have connected to. A shell needs a
script for that.

bash, with the package bash-completion:

    mkdir -p ~/.local/share/bash-completion/completions
    cd ~/.local/share/bash-completion/completions
    parley help completion bash > parley

bash without it, as a line in ~/.bashrc:

    eval "$(parley help completion bash)"

zsh, as a line in ~/.zshrc, below the line with compinit:

    eval "$(parley help completion zsh)"

fish:

    mkdir -p ~/.config/fish/completions
    parley help completion fish > ~/.config/fish/completions/parley.fish

Then start a new shell. The script asks parley for its flags and names, so it
stays the same when parley gets a new flag.
`;

/** @param root the command whose words are completed. */
export function completion(root: () => Command): Command {
  return defineCommand({
    meta: about({
      name: "completion",
      description: "complete commands of parley with the Tab key",
      examples: [
        ["parley help completion", "how to install it"],
        ["parley help completion bash", "the script for bash"],
      ],
    }),
    args: {
      shell: {
        type: "positional",
        required: false,
        valueHint: SHELLS.join("|"),
        completes: "shell",
        description: "the shell; without it, how to install the script is explained",
      },
      words: {
        type: "positional",
        required: false,
        rest: true,
        valueHint: "-- WORDS…",
        description: "what the script asks: the words of a command up to the cursor",
      },
    } satisfies FlagsDef,
    run: ({ args }) => complete(root(), new Flags<"shell" | "words">(args as Arguments)),
  }) as Command;
}

async function complete(root: Command, flags: Flags<"shell" | "words">): Promise<void> {
  const shell = flags.text("shell");
  if (shell === undefined) return void stdout.write(HOW);
  const script = SCRIPTS.get(shell);
  if (script === undefined)
    throw usageError(`unknown shell ${JSON.stringify(shell)}`, `use one of ${SHELLS.join(", ")}`);
  const [program, ...words] = flags.texts("words");
  if (program === undefined) return void stdout.write(script);
  const current = words.pop() ?? "";
  const place = await findPlace(root, words.map(inHome), current);
  const candidates = await candidatesOf(place, current);
  // bash shows what it gets; the other shells choose themselves, by rules that the person has set.
  const isLong = candidates.length > MAX_CANDIDATES;
  const shown =
    shell === "bash" || isLong ? candidates.filter(({ value }) => begins(value, current)) : candidates;
  const kind = place.kind === "known" ? "words" : place.kind;
  const lines = shown.slice(0, MAX_CANDIDATES).map(({ value, about }) => `${value}\t${escapeLine(about)}`);
  void stdout.write([kind, ...lines, ""].join("\n"));
}

async function candidatesOf(place: Place, current: string): Promise<Candidate[]> {
  if (place.kind === "words") return place.candidates;
  if (place.kind !== "known") return [];
  const { known, prefix, args } = place;
  const found = await findKnown(known, args, current.slice(prefix.length));
  // A server may have named a user so that a shell or a terminal obeys it.
  const harmless = found.filter(({ value }) => escapeLine(value) === value);
  return harmless.map(({ value, about }) => ({ value: prefix + value, about }));
}

/** As names are compared: without regard to upper and lower case. */
function begins(value: string, start: string): boolean {
  const fold = (text: string) => text.normalize("NFKC").toLowerCase();
  return fold(value).startsWith(fold(start));
}

/** A word whose `~` a shell would have replaced. */
function inHome(word: string): string {
  return word.startsWith("~/") ? homedir() + word.slice(1) : word;
}
