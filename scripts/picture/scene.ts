// What a server and a client show while a connection between them is lost and comes back.

import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { addUser, EXECUTABLE, PASSWORD } from "../../test/support/executable.ts";
import { tempFolder } from "../../test/support/folder.ts";
import { Screen } from "../../test/support/screen.ts";
import { drawn, type Pane } from "./terminal.ts";

const COLUMNS = 118;
const CTRL_D = "\u0004";

/** Runs both to their end. @throws {Error} when one does not show what it should. */
export async function clientScene(): Promise<Pane[]> {
  using folder = tempFolder();
  const data = (name: string) => join(folder.path, name);
  await addUser(data("server"));

  const serverArgv = ["serve", "--service", "upper", "--log", "/dev/stderr"];
  await using server = new Screen([...serverArgv, "--port", "0", "--no-input"], {
    data: data("server"),
    cols: COLUMNS,
  });
  await server.see("listening host=");
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(server.text.text)?.[1]);
  await using way = await breakableWay(port);
  const { port: clientPort } = way;

  await using client = new Screen(["connect", `ann@127.0.0.1:${clientPort}`], {
    data: data("client"),
    cols: COLUMNS,
  });
  await client.see("password for ann:");
  client.enter(PASSWORD);
  await client.see("ann> ");
  client.enter("hello");
  await client.see("HELLO");
  await way.cut();
  await client.see("reconnecting");
  client.enter("are you there?");
  await way.mend();
  await client.see("ARE YOU THERE?");
  client.type(CTRL_D);
  await client.exited;
  await server.see("disconnected");

  const fixed = (text: string) => {
    let second = 0;
    return text
      .replaceAll(EXECUTABLE, "parley")
      .replaceAll(String(port), "13131")
      .replaceAll(String(clientPort), "13131")
      .replaceAll(/127\.0\.0\.1:(?!13131)\d+/g, "127.0.0.1:50122")
      .replaceAll(/pid=\d+/g, "pid=4711")
      .replaceAll(/token=\w+/g, "token=FpkA4xvP")
      .replaceAll(/\S+T[\d:.]+Z(?= )/g, () => `2026-11-26T10:00:0${second++}.000Z`)
      .replaceAll(/\b[\d.]+ m?s\b/g, "2 s")
      .replaceAll(/_ms=\d+/g, "_ms=2000");
  };
  return [
    await drawn(`parley ${serverArgv.join(" ")}`, fixed(server.raw), COLUMNS),
    await drawn("parley connect ann@127.0.0.1:13131", fixed(client.raw), COLUMNS),
  ];
}

interface BreakableWay extends AsyncDisposable {
  port: number;
  /** Resets each connection, and refuses further ones. */
  cut(): Promise<void>;
  /** Carries connections again. */
  mend(): Promise<void>;
}

/** A way to `port` on this machine. */
async function breakableWay(port: number): Promise<BreakableWay> {
  const sockets = new Set<Socket>();
  const listener = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    sockets.add(near).add(far);
    near.on("error", () => far.resetAndDestroy()).pipe(far);
    far.on("error", () => near.resetAndDestroy()).pipe(near);
  });
  const listen = (at: number) => new Promise<void>((resolve) => listener.listen(at, "127.0.0.1", resolve));
  const cut = () =>
    new Promise<void>((resolve) => {
      listener.close(() => resolve());
      for (const socket of sockets) socket.resetAndDestroy();
      sockets.clear();
    });
  await listen(0);
  const { port: own } = listener.address() as AddressInfo;
  return { port: own, cut, mend: () => listen(own), [Symbol.asyncDispose]: cut };
}
