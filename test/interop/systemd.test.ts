// A server started by a service manager: it takes over a socket that listens already, and says how it is. The manager is
// one in Python, as systemd.service(5) and sd_notify(3) have it.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { cleanEnv, EXECUTABLE, run } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { findPythons } from "../support/pythons.ts";
import { Watched } from "../support/watched.ts";

setDefaultTimeout(90_000);

/**
 * Holds a socket and starts the command over it, so many times. Says where it listens, what it is told, and how the
 * command ended.
 */
const MANAGER = `
import os, socket, sys, threading
address, starts, count, command = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
path = "@parley-%d" % os.getpid() if ":" in address else os.environ["HOME"] + "/notify"
ear.bind(path.replace("@", "\\0"))
def hear():
    while True:
        for line in ear.recv(4096).decode().splitlines(): print("told", line, flush=True)
threading.Thread(target=hear, daemon=True).start()
held = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
held.bind((address, 0))
if count != "deaf": held.listen(16)
print("port %d" % held.getsockname()[1], flush=True)
for _ in range(starts):
    child = os.fork()
    if child == 0:
        os.dup2(held.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS="2" if count == "2" else "1", LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET=path)
        if count == "other": os.environ["LISTEN_PID"] = "1"
        print("pid %d" % os.getpid(), flush=True)
        os.execv(command[0], command)
    _, status = os.waitpid(child, 0)
    print("exit %d" % os.waitstatus_to_exitcode(status), flush=True)
`;

const python = findPythons().find(({ isModern }) => isModern);
if (python === undefined) {
  test.skip("there is no Python 3.12 or later on this machine: its tests are left out", () => {});
}

interface Managed extends AsyncDisposable {
  output: Watched;
  errors: Watched;
}

function manage(address: string, starts: number, count: string, argv: string[]): Managed {
  const folder = tempFolder();
  const command = [
    python?.path ?? "",
    "-c",
    MANAGER,
    address,
    String(starts),
    count,
    EXECUTABLE,
    "serve",
    ...argv,
  ];
  const child = Bun.spawn(command, {
    env: cleanEnv(folder.path),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: 80_000,
  });
  const [output, errors] = [new Watched(), new Watched()];
  const pour = async (stream: ReadableStream<Uint8Array>, into: Watched) => {
    for await (const chunk of stream) into.append(Buffer.from(chunk).toString());
    into.end();
  };
  const read = Promise.all([pour(child.stdout, output), pour(child.stderr, errors)]);
  return {
    output,
    errors,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await Promise.all([read, child.exited]);
      folder[Symbol.dispose]();
    },
  };
}

/** The number after the first `word` from `from` on. */
async function numberAfter(word: string, { output }: Managed, from = 0): Promise<number> {
  const end = await output.see(new RegExp(`(?<!\\w)${word} \\d+\n`), from);
  return Number(/ (\d+)\n$/.exec(output.text.slice(0, end))?.[1]);
}

describe.skipIf(python === undefined)("started by a service manager, a server", () => {
  test("takes over its socket, keeps it through a restart, and says when it is ready and when it stops", async () => {
    await using manager = manage("127.0.0.1", 2, "1", ["--auth", "none"]);
    const port = await numberAfter("port", manager);
    using folder = tempFolder();
    let from = 0;
    for (const text of ["before", "after"]) {
      const pid = await numberAfter("pid", manager, from);
      // From here on nobody is turned away, whether the server is there already or not.
      const argv = ["connect", `127.0.0.1:${port}`, "--send", text, "--count", "1"];
      const { stdout, stderr } = await run(argv, { data: join(folder.path, "client") });
      expect([stdout, stderr]).toEqual([`${text}\n`, ""]);
      await manager.output.see(`listening on 127.0.0.1:${port}\n`, from);
      await manager.output.see("told READY=1\n", from);
      await manager.output.see(`told STATUS=listening on 127.0.0.1:${port}\n`, from);
      process.kill(pid, "SIGTERM");
      await manager.output.see("told STOPPING=1\n", from);
      from = await manager.output.see("exit 0\n", from);
    }
  });

  test("is encrypted where the socket is open to others, and hears of an abstract ear", async () => {
    await using manager = manage("::", 1, "1", ["--auth", "none", "--json"]);
    const port = await numberAfter("port", manager);
    await manager.output.see("told READY=1\n");
    const ready = JSON.parse(/\{.*\}/.exec(manager.output.text)?.[0] ?? "") as Record<string, unknown>;
    expect(ready).toMatchObject({ host: "::", port, tls: expect.stringMatching(/^sha256\//) as string });
    process.kill(await numberAfter("pid", manager), "SIGTERM");
    await manager.output.see("exit 0\n");
  });

  test("does not take what is meant for another process", async () => {
    await using manager = manage("127.0.0.1", 1, "other", ["--auth", "none", "--port", "0"]);
    const port = await numberAfter("port", manager);
    await manager.output.see(/listening on 127\.0\.0\.1:\d+\n/);
    expect(manager.output.text).not.toContain(`listening on 127.0.0.1:${port}\n`);
    process.kill(await numberAfter("pid", manager), "SIGTERM");
    await manager.output.see("exit 0\n");
  });

  test.each([
    ["2", [], 1, "cannot use LISTEN_FDS=2: parley takes over one socket"],
    ["deaf", [], 1, "cannot use LISTEN_FDS: the socket does not listen for TCP"],
    [
      "1",
      ["--port", "0"],
      2,
      "--port: the service manager passed a socket (LISTEN_FDS) that listens on 127.0.0.1:",
    ],
  ])("that cannot be as it is told says so: %s %j", async (count, argv, code, message) => {
    await using manager = manage("127.0.0.1", 1, count, argv);
    await manager.output.see(`exit ${code}\n`);
    await manager.errors.see(`parley: error: ${message}`);
  });
});
