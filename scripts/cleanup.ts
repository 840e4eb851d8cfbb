// What a run leaves behind when it is stopped, by Ctrl-C too: it is undone as the process ends.

const left = new Set<() => void>();
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** Calls `undo` once: when the returned function is called, or at the end of the process. It has to be synchronous. */
export function undoAtExit(undo: () => void): () => void {
  left.add(undo);
  return () => {
    if (left.delete(undo)) undo();
  };
}

process.on("exit", () => {
  for (const undo of [...left].toReversed()) undo();
});
for (const [signal, number] of Object.entries(SIGNALS)) {
  process.on(signal, () => process.exit(128 + number));
}
