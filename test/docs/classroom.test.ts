// The flags that docs/classroom.md has for a class behind one address let a class in: thirty that connect before any of them has
// logged in, and ten wrong passwords among them.

import { expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, serve } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { Peer } from "../support/peer.ts";
import { readPages } from "./markdown.ts";

setDefaultTimeout(90_000);

const STUDENTS = 30;
const TYPOS = 10;

const command = readPages()
  .flatMap(({ path, blocks }) => (path === "docs/classroom.md" ? blocks : []))
  .find(({ text }) => text.includes("--max-pending-per-address"));
/** Those that concern limits, for the addresses of this machine. */
const FLAGS = [...(command?.text ?? "").matchAll(/(--penalty-exempt|--max-pending\S*) (\S+)/g)].flatMap(
  ([, flag = "", value = ""]) => [flag, value.replace("192.168.1.0/24", "127.0.0.0/8")],
);

/** How many of a class are greeted while none of them has logged in. */
async function greeted(students: Peer[]): Promise<number> {
  const hellos = await Promise.all(students.map((student) => student.message()));
  return hellos.filter(({ type }) => type === "hello").length;
}

function newClass(port: number): Promise<Peer[]> {
  return Promise.all(Array.from({ length: STUDENTS }, () => Peer.connect(port)));
}

async function logIn(student: Peer, password: string): Promise<unknown> {
  student.json({ type: "login", method: "password", user: "ann", password });
  const { type } = await student.message();
  return type;
}

test("with the flags of the page, a class is let in, also with wrong passwords", async () => {
  expect(FLAGS).toHaveLength(6);
  using folder = tempFolder();
  await addUser(folder.path);
  await using server = await serve([...FLAGS, "--max-per-user", `${STUDENTS}`], { data: folder.path });
  const students = await newClass(server.port);
  expect(await greeted(students)).toBe(STUDENTS);
  for (const student of students.slice(0, TYPOS))
    expect(await logIn(student, "a wrong guess")).toBe("refused");
  for (const student of students) expect(await logIn(student, PASSWORD)).toBe("welcome");
  for (const student of students) student[Symbol.dispose]();
  await server.stop();
});

test("without them, some of the class are refused at first", async () => {
  using folder = tempFolder();
  await addUser(folder.path);
  await using server = await serve([], { data: folder.path });
  const students = await newClass(server.port);
  expect(await greeted(students)).toBeLessThan(STUDENTS);
  for (const student of students) student[Symbol.dispose]();
  await server.stop();
});
