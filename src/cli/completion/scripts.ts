// The scripts that complete commands, by the names of their shells.

import bash from "./parley.bash" with { type: "text" };
import fish from "./parley.fish" with { type: "text" };
import zsh from "./parley.zsh" with { type: "text" };

export const SCRIPTS: ReadonlyMap<string, string> = new Map([
  ["bash", bash],
  ["zsh", zsh],
  ["fish", fish],
]);
