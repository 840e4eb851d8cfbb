// The files of the Debian package that are made: control, changelog.Debian and copyright.

import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { licencesOf, NOTICE, sourcesOfBun, type Licence } from "../release/notice.ts";

/** Of the package, beside the version of parley: it grows when only the packaging changes. */
export const REVISION = 1;

/** A placeholder, in the form that Debian asks for: set it before the first release. */
const MAINTAINER = "The parley authors <parley@parley.invalid>";

/** @param kibibytes what the files take when they are installed */
export function control(version: string, architecture: string, kibibytes: number): string {
  return `Package: parley
Version: ${version}-${REVISION}
Architecture: ${architecture}
Maintainer: ${MAINTAINER}
Installed-Size: ${kibibytes}
Depends: adduser, libc6 (>= 2.17)
Recommends: logrotate
Suggests: bash-completion, fail2ban
Section: net
Priority: optional
Description: login, sessions and message framing for TCP services
 parley is a server and a client for conversations over TCP. The server adds
 accounts, TLS 1.3, a log and limits in front of a program that reads and
 writes lines, a handler in TypeScript, or a TCP service that exists already.
 .
 Sessions survive a broken connection, and every message arrives once.
 .
 This package starts a server that only programs on the same machine can
 reach, and that has no accounts: /etc/parley/parley.toml is its configuration.
`;
}

/** An entry for each version of CHANGELOG.md, from `version` back. */
export function debianChangelog(changes: string, version: string): string {
  const all = [...changes.matchAll(/^## (\S+) - (\d{4}-\d\d-\d\d)$/gm)];
  const entries = all.slice(all.findIndex(([, name]) => name === version));
  if (entries[0]?.[1] !== version) throw new Error(`CHANGELOG.md has no ${version}`);
  return entries
    .map(([, name = "", day = ""]) => {
      const date = new Date(day).toUTCString().replace("GMT", "+0000");
      return `parley (${name}-${REVISION}) unstable; urgency=medium

  * Version ${name}: changelog.gz says what users notice.

 -- ${MAINTAINER}  ${date}
`;
    })
    .join("\n");
}

/** Who wrote what is in the executable, and under which licence, as machine-readable text. */
export async function copyright(root: string): Promise<string> {
  const own = readFileSync(join(root, "LICENSE"), "utf8");
  const sources = sourcesOfBun().map(([name, url]) => ` ${name}:\n  ${url}\n`);
  return [
    `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: parley
Comment:
 /usr/bin/parley contains parley, packages from the npm registry (below as
 node_modules), and the runtime Bun with libraries. ${NOTICE}.gz, beside this
 file, has all of that with versions, and says how to link it again.`,
    stanza(["*"], "MIT", own),
    ...(await licencesOf(root)).map((one) => packageStanza(root, one)),
    `Files: bun/*
Copyright: Oven and the authors of Bun
License: MIT and LGPL-2 and LGPL-2.1
 Bun itself has the licence MIT, as above. It is linked with JavaScriptCore, a
 part of WebKit, under the GNU Library General Public License, version 2:
 /usr/share/common-licenses/LGPL-2; with TinyCC, under the GNU Lesser General
 Public License, version 2.1: /usr/share/common-licenses/LGPL-2.1; and with
 libraries that ${NOTICE}.gz names. Their source:
 .
${sources.join("").trimEnd()}`,
    "",
  ].join("\n\n");
}

function packageStanza(root: string, { id, text, packages }: Licence): string {
  const files = packages.map(({ folder }) => `${relative(root, folder)}/*`);
  return stanza(files.sort(), id, text);
}

function stanza(files: string[], id: string, text: string): string {
  const isApache = id === "Apache-2.0";
  const holders = text.match(/^\s*copyright (?!notice|\[yyyy\]).*$/gim)?.map(holderOf) ?? [];
  const body = isApache ? "See /usr/share/common-licenses/Apache-2.0." : text.trim();
  return `Files: ${files.join("\n ")}
Copyright: ${(isApache || holders.length === 0 ? ["the authors of the package"] : holders).join("\n ")}
License: ${id}
${body.replaceAll(/^.*$/gm, (line) => (line.trim() === "" ? " ." : ` ${line.trimEnd()}`))}`;
}

/** Without the word and the sign that begin the line. */
function holderOf(line: string): string {
  return line.trim().replace(/^copyright (?:\(c\)|©)? */i, "");
}
