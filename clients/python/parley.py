"""Messages over TCP, and a client of the parley protocol: one file, the standard library, CPython 3.6 and later.

    with parley.connect("127.0.0.1", 13131, user="ann", password="correct horse") as session:
        session.send_text("hello")
        print(session.recv_text())

`connect` logs in and returns a Session, which survives lost connections. A MessageSocket is a socket whose messages stay
whole: for programs of your own at both ends, and for `parley serve --bare` and `parley connect --bare`.

Times are in seconds, sizes in bytes. What the server refuses, and a connection that is lost for good, raises ParleyError.
A time limit that is over raises socket.timeout (TimeoutError since Python 3.10): nothing is lost, and the next call goes
on. Run as a program, `python3 parley.py [USER@]HOST:PORT` sends lines and prints answers.
"""
import base64, collections, hashlib, hmac, ipaddress, json, math, os, random, re, selectors, socket, ssl, stat, struct
import sys, threading, time, unicodedata, warnings, zlib
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple

Json = Dict[str, Any]
LIMIT = 16 << 20  # the longest message that is accepted, unless another limit is given
WINDOW_BYTES, WINDOW_FRAMES = 1 << 20, 1024  # what may be unacknowledged
CHUNK = 1 << 16
BINDING = "tls-server-end-point"  # CPython has no exporter: over TLS a proof is bound to the certificate
BYE = {"type": "bye", "code": "left", "message": "the client has left"}
CONTROL = 0x80000000  # marks a control frame
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DIGESTS = rb"\{(sha256|sha384|sha3_256|sha3_384)\}"


class ParleyError(Exception):
    """`code` is the protocol's, such as "bad_credentials" or "full" (docs/protocol.md), or one of this client's:
    unreachable, timeout, closed: no connection, or none that lasted until the login; tls, pin_unknown, pin_changed;
    key_missing, key_refused; lost: the session, for good; unconfirmed: messages; no_password; file: the stored tokens;
    frame_cut. `message` is a sentence. `retry_after`: seconds after which another attempt may succeed, or None.
    """

    def __init__(self, code: str, message: str, retry_after: Optional[float] = None) -> None:
        super().__init__(code, message, retry_after)
        self.code, self.retry_after = code, retry_after
        # The sentence may be a server's: it must not act on a terminal.
        self.message = "".join(c if c.isprintable() else "\\u%04x" % ord(c) for c in message)

    def __str__(self) -> str:
        return self.message


def frame_of(payload: bytes, mark: int = 0) -> bytes:
    if len(payload) > 0x7FFFFFFF:
        raise ValueError("a message has 2147483647 bytes at most")
    return struct.pack("!I", mark | len(payload)) + payload


class Frames:
    """Puts frames together from bytes in pieces of any size."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.control = False  # are control frames agreed?
        self.buffer = bytearray()  # what was received and is no whole frame yet
        self.missing = 4  # bytes, at least, until the next frame is whole

    def next(self) -> Optional[Tuple[bool, bytes]]:
        """The next frame: is it a control frame, and its payload. None while bytes of it are missing."""
        size, length, is_control, have = 4, 0, False, len(self.buffer)
        if have >= 4:
            length = struct.unpack_from("!I", self.buffer)[0]
            if length == 0xFFFFFFFF:  # CPython's escape
                size, length = 12, struct.unpack_from("!Q", self.buffer, 4)[0] if have >= 12 else 0
            elif length >> 16 == 0x8000 and self.control:
                is_control, length = True, length & 0xFFFF
            elif length >= 0x80000000:
                raise ParleyError("bad_length", "%08x begins no message" % length)
            if length > self.limit and not is_control:
                raise ParleyError("bad_length", "a message of %d bytes is over the limit of %d" % (length, self.limit))
        self.missing = size + length - have
        if self.missing > 0:
            return None
        payload = bytes(self.buffer[size : size + length])
        del self.buffer[: size + length]
        return is_control, payload


class Texts:
    """Messages as texts, for a class that has them as bytes."""

    def send_bytes(self, message: bytes) -> None:
        raise NotImplementedError

    def recv_bytes(self) -> Optional[bytes]:
        raise NotImplementedError

    def send_text(self, text: str) -> None:
        """Sends one message, as UTF-8. Raises as `send_bytes`."""
        self.send_bytes(text.encode())

    def recv_text(self) -> Optional[str]:
        """The next message, or None at the end. Raises as `recv_bytes`, and ParleyError bad_message if it is not UTF-8."""
        message = self.recv_bytes()
        try:
            return None if message is None else message.decode()
        except UnicodeDecodeError as error:
            raise ParleyError("bad_message", "the message is not UTF-8: %s" % error.reason) from error

    def __iter__(self) -> Iterator[str]:
        """The texts, until the end."""
        return iter(self.recv_text, None)


class MessageSocket(Texts, socket.socket):
    """A TCP socket that sends and receives whole messages: 4 bytes of length, big-endian, then so many bytes.

    `bind`, `listen`, `connect`, `settimeout` and `close` are those of every socket; a lost connection raises OSError. The
    time limit is for each wait for the peer. Several threads may use one socket. No byte behind a message is read before
    it is asked for, so `select` works as usual. docs/clients.md has a server.
    """

    def __init__(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0,
                 fileno: Optional[int] = None, limit: int = LIMIT) -> None:
        """`limit`: the longest message that is accepted, also by what `accept` returns."""
        super().__init__(family, type, proto, fileno)
        self.limit, self._frames, self._unsent = limit, Frames(limit), bytearray()
        self._sending, self._receiving = threading.Lock(), threading.Lock()

    @classmethod
    def over(cls, plain: socket.socket, limit: int = LIMIT) -> "MessageSocket":
        """Takes over a connected socket, such as one of socket.create_connection."""
        timeout = plain.gettimeout()
        taken = cls(plain.family, plain.type, plain.proto, plain.detach(), limit)
        taken.settimeout(timeout)
        return taken

    def accept(self) -> Tuple["MessageSocket", Any]:
        """The next client, and its address."""
        plain, address = super().accept()
        return self.over(plain, self.limit), address

    def send_bytes(self, message: bytes) -> None:
        """Sends one message. After socket.timeout the rest of it is kept: the next call of this or of `flush` sends it."""
        with self._sending:
            self._unsent += frame_of(message)
        self.flush()

    def prove_key(self, key: bytes) -> None:
        """The key exchange with `parley serve --bare --key-file`: the first thing to do. Raises ParleyError key_…."""
        exchange_key(self.send_bytes, self.recv_bytes, key)

    def flush(self) -> None:
        """Sends what a timeout has left behind."""
        with self._sending:
            while self._unsent:
                del self._unsent[: self.send(bytes(self._unsent[:CHUNK]))]

    def recv_bytes(self) -> Optional[bytes]:
        """The next message; None when the peer has ended between two messages.

        Raises ParleyError: frame_cut when it ended inside a message, bad_length for a message over the limit.
        """
        with self._receiving:
            frame = self._frames.next()
            while frame is None:
                chunk = self.recv(min(self._frames.missing, CHUNK))
                if not chunk and self._frames.buffer:
                    raise ParleyError("frame_cut", "the connection ended in the middle of a message")
                if not chunk:
                    return None
                self._frames.buffer += chunk
                frame = self._frames.next()
            return frame[1]


# --- Files that `parley connect` has, too: users' tokens, and the keys of servers. ---

FILES = {"tokens": "tokens.json", "servers": "known-servers.json"}
MEMBERS = {"tokens": ("server", "user", "token", "expires"), "servers": ("server", "pin")}


def path_of(kind: str) -> str:
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = state if os.path.isabs(state) else os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.realpath(os.path.join(os.environ.get("PARLEY_DATA") or os.path.join(folder, "parley"), FILES[kind]))


def read_entries(kind: str) -> List[Json]:
    path = path_of(kind)
    try:
        with open(path, encoding="utf-8") as file:
            for one, others in (os.fstat(file.fileno()), 0o077), (os.stat(os.path.dirname(path)), 0o022):
                if os.name == "posix" and (one.st_mode & others or os.geteuid() not in (0, one.st_uid)):
                    raise ParleyError("file", "%s is not private: chmod 600 it, and chmod 700 its folder" % path)
            entries = json.load(file)[kind]  # type: List[Json]
            if all(isinstance(entry[member], str) for entry in entries for member in MEMBERS[kind]):
                return entries
            raise ValueError
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError):
        raise ParleyError("file", "%s is damaged: repair or remove it" % path) from None


def change_entries(kind: str, change: Callable[[List[Json]], List[Json]]) -> None:
    """Changes a file under its lock, which `parley connect` takes, too: all of the change is on the disk then, or nothing."""
    import fcntl  # Windows has none: there nothing is kept

    path = path_of(kind)
    folder, name = os.path.split(path)
    os.makedirs(folder, 0o700, exist_ok=True)
    guard, give_up = os.path.join(folder, ".%s.lock" % name), time.monotonic() + 10
    while True:
        lock = os.open(guard, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(guard)):  # a removed lock file excludes no other program
                break
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
        if time.monotonic() > give_up:
            raise ParleyError("file", "another process has held %s for 10 s" % guard)
        time.sleep(0.005)
    try:
        text = json.dumps({"version": 1, kind: change(read_entries(kind))}, indent=2, ensure_ascii=False) + "\n"
        temporary = os.path.join(folder, ".%s.%d.%s.tmp" % (name, os.getpid(), os.urandom(6).hex()))
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), os.stat(folder).st_uid, os.stat(folder).st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
    finally:
        os.close(lock)


def keep(kind: str, entry: Json, is_replaced: Callable[[Json], bool]) -> None:
    """Stores an entry in the place of others; an empty one only removes them. A failure is a warning: the conversation goes on."""
    try:
        change_entries(kind, lambda all_: [one for one in all_ if not is_replaced(one)] + ([entry] if entry else []))
    except (OSError, ImportError, ParleyError) as error:
        warnings.warn("parley: %s not saved: %s" % (kind, error))


# --- One connection, and what it proves. ---


def prove(secret: bytes, label: str, nonce: str, binding: bytes) -> str:
    proven = (label + (" end-point" if binding else "")).encode() + from_base64(nonce) + binding
    mask = hmac.new(hashlib.sha256(secret).digest(), proven, hashlib.sha256).digest()
    return base64.b64encode(bytes(a ^ b for a, b in zip(secret, mask))).decode()


def parse_token(token: str) -> Tuple[str, bytes]:
    """Id and secret of a token. Raises ValueError, which does not show the token."""
    match = re.match(r"prly_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})\Z", token)
    if match is not None:
        number, check = (sum(DIGITS.index(c) * 62**i for i, c in enumerate(reversed(part))) for part in match.groups()[1:])
        if number < 1 << 256 and check == zlib.crc32(token[5:57].encode()):
            return match.group(1), number.to_bytes(32, "big")
    raise ValueError("this is no session token, or it is mistyped")


def is_token(token: str) -> bool:
    try:
        return bool(parse_token(token))
    except ValueError:
        return False


def pin_of(certificate: bytes) -> str:
    """`sha256/` and the hash of the public key in a certificate (DER)."""

    def inside(at: int) -> Tuple[int, int]:  # where the contents of the element at `at` begin and end
        length, start = certificate[at + 1], at + 2
        if length >= 0x80:
            start, length = start + length - 0x80, int.from_bytes(certificate[start : start + length - 0x80], "big")
        return start, start + length

    at = inside(inside(0)[0])[0]
    for _ in range(6 if certificate[at] == 0xA0 else 5):  # version, serial, algorithm, issuer, dates, subject
        at = inside(at)[1]
    return "sha256/" + base64.b64encode(hashlib.sha256(certificate[at : inside(at)[1]]).digest()).decode()


def exchange_key(send: Callable[[bytes], None], ask: Callable[[], Optional[bytes]], key: bytes) -> None:
    """The client's half of the key exchange. Raises ParleyError key_missing or key_refused."""
    refused = ParleyError("key_refused", "the server has a different key")
    challenge = ask() or b""
    if not challenge.startswith(b"#CHALLENGE#"):
        send(b"#FAILURE#")
        raise ParleyError("key_missing", "the server does not use a shared key")
    challenge = challenge[len(b"#CHALLENGE#") :]
    named = re.match(DIGESTS + b"(?!parley-c)", challenge)  # a challenge of our own would have come back
    if named is None or len(challenge) < 20:
        raise refused
    send(named.group() + hmac.new(key, challenge, named.group(1).decode()).digest())
    if ask() != b"#WELCOME#":
        raise refused
    mine = b"{sha256}parley-c" + os.urandom(40)
    send(b"#CHALLENGE#" + mine)
    answer = ask() or b""
    named = re.match(DIGESTS, answer)
    mac = hmac.new(key, mine, named.group(1).decode() if named else "sha256").digest()
    is_right = hmac.compare_digest(answer[named.end() if named else 0 :], mac)
    send(b"#WELCOME#" if is_right else b"#FAILURE#")
    if not is_right:
        raise refused


class Link:
    """One connection to a server, plain or over TLS. It never blocks, except in `wait`."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self.sock, self.timeout, self.frames = sock, timeout, Frames(4096)
        self.out = bytearray()  # what waits to be written
        self.active = time.monotonic()  # when the last byte moved
        self.binding, self.pin, self.has_ended = b"", "", False
        self.selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()  # type: selectors.BaseSelector

    def put(self, message: Json, mark: int = 0) -> None:
        self.out += frame_of(json.dumps(message, separators=(",", ":")).encode(), mark)

    def move(self, reads: bool = True) -> bool:
        """Writes and reads what is possible now; false when that is nothing. Raises OSError at the end of the connection."""
        moved = False
        try:
            if self.out:
                del self.out[: self.sock.send(bytes(self.out[:CHUNK]))]
                moved = True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        try:
            chunk = self.sock.recv(4 * CHUNK) if reads else None
            if chunk == b"":
                self.has_ended = not self.frames.buffer
                raise ConnectionError("the server closed the connection")
            self.frames.buffer += chunk or b""
            moved = moved or chunk is not None
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        self.active = time.monotonic() if moved else self.active
        return moved

    def wait(self, seconds: float, reads: bool = True) -> None:
        """Waits until there is something to move, or the selector's other files are ready."""
        events = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if self.out else 0)
        if events:
            self.selector.register(self.sock, events)
        self.selector.select(max(0.0, seconds))
        if events:
            self.selector.unregister(self.sock)

    def send(self, message: bytes) -> None:
        self.out += frame_of(message)

    def ask(self) -> bytes:
        """Writes what waits, and returns the next payload. Raises ParleyError when the server says `error`, or nothing."""
        self.sock.setblocking(False)
        deadline, frame = time.monotonic() + self.timeout, self.frames.next()
        while frame is None:
            try:
                if not self.move():
                    self.wait(deadline - time.monotonic())
            except OSError as error:
                raise ParleyError("closed", "the connection ended before the login: %s" % error) from error
            if time.monotonic() > deadline:
                raise ParleyError("timeout", "the server did not answer within %g s" % self.timeout)
            frame = self.frames.next()
        if frame[1].startswith(b'{"type":"error"'):
            said = parse(frame[1])
            after = said.get("retry_after")
            raise ParleyError(str(said.get("code")), str(said.get("message")), after if isinstance(after, (int, float)) else None)
        return frame[1]

    def log_in(self, login: Json) -> Json:
        self.put(dict({"type": "login"}, control=True, **login))
        answer = parse(self.ask())
        if answer.get("type") in ("refused", "welcome"):
            check_members(answer, {})
            return answer
        raise ParleyError("bad_message", "the server answered the login with %r" % answer.get("type"))

    def close(self, gently: bool = False, seconds: float = 1) -> None:
        """Closes: with a reset, so that nothing arrives later, or `gently`, so that what was written arrives."""
        deadline = time.monotonic() + seconds
        try:
            if gently:
                self.sock.settimeout(1)
                self.sock.sendall(self.out)
                self.sock.shutdown(socket.SHUT_WR)
                while time.monotonic() < deadline and self.sock.recv(CHUNK):
                    pass  # what is unread would make the close a reset
            else:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # the server was faster
        self.sock.close()
        self.selector.close()


def parse(payload: bytes) -> Json:
    try:
        message = json.loads(payload.decode())
        if isinstance(message, dict):
            return message
    except (ValueError, RecursionError):
        pass
    raise ParleyError("bad_message", "the server sent what is no message of parley/1")


# What a client needs of the server's messages.
HELLO = {"nonce": str, "max_frame": int, "auth": list}  # type: Json
OPTIONAL = {"server": str, "bindings": list, "user": str, "token": str, "expires": str, "session": str, "resume_key": str,
            "keepalive": (int, float), "received": int}  # type: Json


def check_members(message: Json, required: Json) -> None:
    is_right = all(isinstance(message.get(name), kind) for name, kind in required.items())
    if not is_right or not all(isinstance(message[name], OPTIONAL[name]) for name in OPTIONAL if message.get(name) is not None):
        raise ParleyError("bad_message", "the server sent a malformed %s" % message.get("type"))


def from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        raise ParleyError("bad_message", "the server sent malformed base64") from None


class Server:
    """Where a server is, how to know that it is the right one, and who logs in there."""

    def __init__(self, host: str, port: int, user: Optional[str], password: Optional[str], token: Optional[str],
                 key: Optional[bytes], pin: Optional[str], ca: Optional[str], tls: Optional[bool], accept_new: bool,
                 register: bool, keep_token: bool, retry: float, timeout: float) -> None:
        self.port, self.password, self.key, self.pin, self.ca = port, password, key, pin, ca
        self.user, self.token = user, parse_token(token) if token else None
        self.accept_new, self.register, self.keep_token = accept_new, register, keep_token
        self.retry, self.timeout = min(retry, 1 << 31), timeout
        is_local = re.match(r"(.+\.)?localhost\.?\Z", host, re.IGNORECASE) is not None  # such a name is not looked up
        self.host = "localhost" if is_local else host
        try:
            address = ipaddress.ip_address(host if ":" in host else socket.inet_ntoa(socket.inet_aton(host)))
            address = getattr(address, "ipv4_mapped", None) or address
            is_local, host = address.is_loopback, str(address)
        except (OSError, ValueError):
            host = host.lower()[: -1 if host.endswith(".") else None]
        self.name = ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)
        known = [one.get("pin") for one in read_entries("servers") if one.get("server") == self.name]
        self.known = known[-1] if known else None
        demands = pin is not None or ca is not None or accept_new
        if tls is False and (demands or self.known):
            raise ParleyError("tls", "%s is to be reached over TLS: leave out tls=False, or pin, ca and accept_new; or forget "
                              "it with: parley connect %s --forget" % (self.name, self.name))
        self.tls = bool(tls or demands or self.known or not is_local) and tls is not False

    def open(self) -> Tuple[Link, Json]:
        """A connection to the server, which is the right one, and its `hello`."""
        try:
            sock = socket.create_connection((self.host, self.port), self.timeout)
        except OSError as error:
            code = "timeout" if isinstance(error, socket.timeout) else "unreachable"
            raise ParleyError(code, "cannot connect to %s: %s" % (self.name, error.strerror or error)) from error
        link = Link(sock, self.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                self.secure(link)
            if self.key is not None:
                bound = b"parley " + BINDING.encode() + b" v1" + link.binding
                key = hmac.new(self.key, bound, hashlib.sha256).digest() if link.binding else self.key
                exchange_key(link.send, link.ask, key)
            if link.pin and link.pin != self.known:
                now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
                keep("servers", {"server": self.name, "pin": link.pin, "since": now}, lambda one: one.get("server") == self.name)
                self.known = link.pin
            first = link.ask()
            if first.startswith(b"#CHALLENGE#"):
                raise ParleyError("login_required", "the server requires a shared key")
            hello = parse(first)
            if hello.get("protocol") != "parley/1":
                raise ParleyError("bad_message", "the server does not speak parley/1")
            check_members(hello, HELLO)
            return link, hello
        except BaseException as error:
            link.close(gently=isinstance(error, ParleyError) and error.code.startswith("key_"))
            raise

    def secure(self, link: Link) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
        if self.ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # the pin decides
        elif self.ca == "system":
            context.load_default_certs()
        else:
            context.load_verify_locations(self.ca)
        try:
            link.sock = channel = context.wrap_socket(link.sock, server_hostname=self.host)
        except socket.timeout:
            raise ParleyError("timeout", "no TLS with %s within %g s" % (self.name, self.timeout)) from None
        except (OSError, ssl.CertificateError) as error:
            code = "tls" if isinstance(error, (ssl.SSLError, ssl.CertificateError)) else "closed"
            raise ParleyError(code, "no TLS with %s: %s" % (self.name, error)) from error
        certificate = channel.getpeercert(True)
        if channel.version() != "TLSv1.3" or certificate is None:
            raise ParleyError("tls", "%s and this Python have no TLS 1.3 in common" % self.name)
        link.binding = hashlib.sha256(certificate).digest()
        if self.ca is not None and self.pin is None:
            return
        link.pin, expected = pin_of(certificate), self.pin or self.known
        if expected is None and self.key is None and not self.accept_new:
            raise ParleyError("pin_unknown", "unknown server %s: compare its key with the one that it prints, and connect with "
                              "pin=%r" % (self.name, link.pin))
        if link.pin != (expected or link.pin):
            raise ParleyError("pin_changed", "the key of %s is %s and not %s: another server may be answering in its place"
                              % (self.name, link.pin, expected))

    def log_in(self) -> Tuple[Link, Json, Json]:
        """A connection after its login, `hello` and `welcome`."""
        link, hello = self.open()
        try:
            refusal = None  # type: Optional[ParleyError]
            for login, stored in self.logins(link, hello):
                answer = link.log_in(login)
                if answer["type"] == "welcome":
                    self.keep(link, hello, answer, stored)
                    return link, hello, answer
                refusal = ParleyError(str(answer.get("code")), str(answer.get("message")))
                if stored.get("issuer") is not None and refusal.code == "token_refused":
                    keep("tokens", {}, lambda one: bool(one["token"] == stored["token"]))
                if not answer.get("attempts_left"):
                    break
            raise refusal or ParleyError("no_password", "%s wants a user name and a password" % self.name)
        except BaseException:
            link.close()
            raise

    def logins(self, link: Link, hello: Json) -> Iterator[Tuple[Json, Json]]:
        """The logins to be tried, each with the stored token that it proves."""
        can_prove = self.can_prove(link, hello)
        options = {"resume_for": math.ceil(self.retry) if can_prove else 0}  # type: Json
        if not self.keep_token:
            options["token"] = False
        auth = hello["auth"]
        if "none" in auth or "ip" in auth:
            yield dict(options, method="none" if "none" in auth else "ip"), {}
        elif "name" in auth and self.user is not None:
            yield dict(options, method="name", user=self.user), {}
        elif "password" in auth:
            if self.register:
                if "register" not in auth:
                    raise ParleyError("not_allowed", "the server does not allow new accounts")
            elif can_prove and self.token:
                yield dict(options, **self.token_login(link, hello, *self.token)), {}
            elif can_prove and self.keep_token:
                for stored in self.stored(hello, bool(link.binding)):
                    yield dict(options, **self.token_login(link, hello, *parse_token(stored["token"]))), stored
            if self.user is not None and self.password is not None:
                method = "register" if self.register else "password"
                yield dict(options, method=method, user=self.user, password=self.password), {}

    def stored(self, hello: Json, encrypted: bool) -> List[Json]:
        """The stored token for this server: one that it has issued, or one whose issuer is not known."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        here = [one for one in read_entries("tokens") if one["server"] == self.name and one["expires"] > now
                and one.get("issuer") in (None, hello.get("server")) and (encrypted or not one.get("encrypted"))
                and is_token(one["token"])]
        if self.user is None and len({one["user"] for one in here}) == 1:
            self.user = here[0]["user"]
        name = unicodedata.normalize("NFKC", self.user or "").lower()
        return sorted((one for one in here if one["user"] == name), key=lambda one: one.get("issuer") is None)[:1]

    def can_prove(self, link: Link, hello: Json) -> bool:
        return not link.binding or BINDING in (hello.get("bindings") or ())

    def proof(self, link: Link, hello: Json, secret: bytes, label: str) -> Json:
        proof = {"proof": prove(secret, label, hello["nonce"], link.binding)}
        return dict(proof, binding=BINDING) if link.binding else proof

    def token_login(self, link: Link, hello: Json, id: str, secret: bytes) -> Json:
        return dict(self.proof(link, hello, secret, "parley/1 token"), method="token", id=id)

    def keep(self, link: Link, hello: Json, welcome: Json, stored: Json) -> None:
        issuer = welcome.get("server") or hello.get("server")
        new = {name: welcome.get(name) for name in ("user", "token", "expires")}
        if self.keep_token and None not in new.values() and is_token(str(new["token"])):
            stored = dict(new, server=self.name, encrypted=bool(link.binding))
        elif not stored or stored.get("issuer") == issuer:
            return
        entry = dict(stored, issuer=issuer)
        same = ("server", "user", "issuer")
        keep("tokens", entry, lambda one: one.get("token") == entry["token"] or all(one.get(k) == entry[k] for k in same))

    def resume(self, welcome: Json, received: int) -> Tuple[Link, Json]:
        """Comes back into the session of `welcome`."""
        link, hello = self.open()
        try:
            if not self.can_prove(link, hello):
                raise ParleyError("not_allowed", "the server takes no proof from this client any more")
            login = self.proof(link, hello, from_base64(welcome["resume_key"]), "parley/1 resume")
            login.update(method="resume", session=welcome["session"], received=received, resume_for=math.ceil(self.retry))
            answer = link.log_in(login)
            if answer["type"] == "refused":
                raise ParleyError(str(answer.get("code")), "cannot resume the session: %s" % answer.get("message"))
            return link, answer
        except BaseException:
            link.close()  # an attempt that was given up must not reach the server later
            raise


# What may be over soon.
PASSING = ("unreachable", "timeout", "closed", "shutting_down", "busy", "full", "too_many_from_address", "penalised")


class Session(Texts):
    """A conversation with a service. A thread of its own answers pings, acknowledges what `recv_…` has handed over, and
    resumes after a loss: what the server lacks is sent again, and nothing twice.

    Several threads may send and receive. `user`, `service`, `max_frame` (the longest message that the server accepts) are
    the server's. `status` is the exit status of a remote program, once that has ended. Leaving a `with` block closes.
    """

    def __init__(self, server: Server, limit: int) -> None:
        self._server, self._limit = server, limit
        self._link, hello, self._welcome = server.log_in()
        self.user, self.service = self._welcome.get("user"), str(hello.get("service"))  # type: Optional[str], str
        self.max_frame, self.status = int(hello["max_frame"]), None  # type: int, Optional[int]
        self.token = self._welcome.get("token")  # type: Optional[str]
        self._has_control = self._welcome.get("control") is True
        self._is_tracked = self._has_control and bool(self._welcome.get("session"))  # with acknowledgements and resume?
        self._change = threading.Condition()  # guards everything below
        self._timeout = None  # type: Optional[float]
        self._unacked, self._unacked_bytes = collections.deque(), 0  # type: Deque[bytes], int
        self._acked = self._written = 0  # messages that the server has acknowledged; that are sent over this connection
        self._inbox, self._inbox_bytes = collections.deque(), 0  # type: Deque[bytes], int
        self._received = self._taken = self._told = 0  # messages; handed over; acknowledged
        self._taken_bytes, self._tell_at, self._pong = 0, 0.0, None  # type: int, float, Any
        self._input_ended = self._end_sent = self._leaving = self._bye_sent = self._over = False
        self._bye = None  # type: Optional[Json]
        self._failure = None  # type: Optional[ParleyError]
        self._lost_at, self._since, self._progress = 0.0, 0.0, -1
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="parley", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return "<parley.Session of %s at %s>" % (self.user, self._server.name)

    def settimeout(self, seconds: Optional[float]) -> None:
        """The longest that sending or receiving one message may wait before socket.timeout; None (default): for ever."""
        self._timeout = seconds

    @property
    def unconfirmed(self) -> int:
        """How many sent messages the server has not acknowledged."""
        return len(self._unacked)

    def send_bytes(self, message: bytes) -> None:
        """Sends one message; waits while 1 MiB or 1024 messages are not acknowledged. After socket.timeout it was not sent.

        Raises ValueError for one over `max_frame`, and ParleyError when the session has ended: "done" if the service has.
        """
        if len(message) > self.max_frame:
            raise ValueError("a message of %d bytes is over the server's limit of %d" % (len(message), self.max_frame))
        with self._change:
            if self._input_ended:
                raise ValueError("no message may follow end()")
            self._wait(lambda: len(self._unacked) < WINDOW_FRAMES and self._unacked_bytes < WINDOW_BYTES)
            if self._bye is not None or self._over:
                self._raise()
                raise ParleyError("done", "the service has ended the session")
            self._unacked.append(bytes(message))
            self._unacked_bytes += len(message)
            self._wake()

    def recv_bytes(self) -> Optional[bytes]:
        """The next message; None when the service has ended and every sent message is confirmed. Otherwise ParleyError."""
        with self._change:
            self._wait(lambda: bool(self._inbox))
            if not self._inbox:
                self._raise()
                return None
            message = self._inbox.popleft()
            self._inbox_bytes -= len(message)
            self._taken += 1
            self._taken_bytes += len(message)
            is_first = self._taken - self._told == 1
            if is_first:
                self._tell_at = time.monotonic() + 0.1
            if is_first or self._bye or self._has_taken_much():
                self._wake()
            return message

    def end(self) -> None:
        """Says that no more messages follow. The service sends its last answers, then `recv_…` returns None."""
        with self._change:
            self._input_ended = True
            self._wake()

    def close(self) -> None:
        """Ends, and waits until every message is confirmed; answers that come meanwhile are dropped. Raises as `recv_bytes`."""
        self.end()
        try:
            while self.recv_bytes() is not None:
                pass
        finally:
            self.leave()

    def leave(self) -> None:
        """Leaves at once. Messages that are on their way, in either direction, may be lost."""
        with self._change:
            self._leaving = True
            self._change.notify_all()
            self._wake()
        self._thread.join(5)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close() if kind is None and not self._leaving else self.leave()

    def _wait(self, is_ready: Callable[[], bool]) -> None:
        if not self._change.wait_for(lambda: bool(is_ready() or self._bye or self._over), self._timeout):
            raise socket.timeout("timed out")

    def _raise(self) -> None:
        """Raises what is wrong with the end of the session, if anything is."""
        if self._failure is not None:
            raise ParleyError(self._failure.code, self._failure.message, self._failure.retry_after)
        if self._bye is None:
            raise ParleyError("lost", "this side has left the session")
        if self._bye.get("code") != "done":
            raise ParleyError(str(self._bye.get("code")), "the server ended the session: %s" % self._bye.get("message"))
        if self._unacked:
            raise ParleyError("unconfirmed", "the service ended without %d of the messages" % len(self._unacked))

    def _wake(self) -> None:
        try:
            self._alarm.send(b"!")
        except OSError:
            pass  # it is awake, or has ended

    # --- the thread ---

    def _run(self) -> None:
        failure = ParleyError("lost", "this client has failed")  # type: Optional[ParleyError]
        try:
            while True:
                try:
                    self._converse()
                    break
                except OSError as error:
                    if self._bye or self._leaving:
                        break
                    if self._link.has_ended and not self._has_control:
                        self._bye = {"code": "done"}
                        break
                    self._link.close()
                    self._resume(error)
            failure = None
        except ParleyError as error:
            failure = error
        finally:
            with self._change:
                self._failure, self._over = failure, True
                self._change.notify_all()
            self._link.close(failure is None, 0 if self._bye else 1)
            self._awake.close()
            self._alarm.close()

    def _converse(self) -> None:
        """Moves messages in both directions until the session is over. Raises OSError when the connection is lost."""
        link, deadline = self._link, 0.0
        link.frames.limit, link.frames.control = self._limit, self._has_control
        link.selector.register(self._awake, selectors.EVENT_READ)
        silence = 3.5 * float(self._welcome.get("keepalive") or math.inf)  # the server pings, and gets a pong, in less
        while True:
            with self._change:
                is_last = self._fill(link)
                has_room = len(self._inbox) < 2 * WINDOW_FRAMES and self._inbox_bytes < 2 * WINDOW_BYTES
                until = min(link.active + silence if has_room else math.inf,
                            self._tell_at if self._taken > self._told else math.inf)
            if is_last:
                deadline = deadline or time.monotonic() + 2
                if not link.out or time.monotonic() > deadline:
                    return
                until = deadline
            frame = link.frames.next()  # there may be some behind `welcome`
            while frame is not None:
                self._control(parse(frame[1])) if frame[0] else self._payload(frame[1])
                frame = link.frames.next()
            if link.move(has_room):
                continue
            now = time.monotonic()
            if has_room and now > link.active + silence:
                raise ConnectionError("the server has been silent for too long")
            link.wait(min(until - now, 3600), has_room)
            try:
                self._awake.recv(CHUNK)
            except BlockingIOError:
                pass

    def _fill(self, link: Link) -> bool:
        """Puts what is to be sent into the connection's output; true when nothing follows."""
        while len(link.out) < CHUNK and self._written < self._acked + len(self._unacked) and not self._bye:
            link.out += frame_of(self._unacked[self._written - self._acked])
            self._written += 1
            if not self._is_tracked:
                self._confirm(self._written)
        is_done = self._leaving or (self._bye is not None and not self._inbox)
        is_due = is_done or time.monotonic() >= self._tell_at or self._has_taken_much()
        if self._is_tracked and self._taken > self._told and len(link.out) < CHUNK and is_due:
            link.put({"type": "ack", "received": self._taken}, CONTROL)
            self._told, self._taken_bytes = self._taken, 0
        if self._pong is not None and len(link.out) < CHUNK:
            link.put({"type": "pong", "n": self._pong}, CONTROL)
            self._pong = None
        if self._input_ended and not self._end_sent and self._written == self._acked + len(self._unacked):
            if self._has_control:
                link.put({"type": "end"}, CONTROL)
            elif not link.out:
                socket.socket.shutdown(link.sock, socket.SHUT_WR)
            self._end_sent = self._has_control or not link.out
        if is_done and not self._bye_sent and self._has_control:
            link.put(BYE, CONTROL)
            self._bye_sent = True
        return is_done

    def _has_taken_much(self) -> bool:
        """Is enough handed over that it is acknowledged at once?"""
        return self._taken - self._told >= WINDOW_FRAMES // 4 or self._taken_bytes >= WINDOW_BYTES // 4

    def _payload(self, message: bytes) -> None:
        with self._change:
            self._inbox.append(message)
            self._inbox_bytes += len(message)
            self._received += 1
            self._change.notify_all()

    def _control(self, message: Json) -> None:
        kind, received = message.get("type"), message.get("received")
        with self._change:
            if kind == "ping" and len(self._link.out) < CHUNK:
                self._link.put({"type": "pong", "n": message.get("n")}, CONTROL)
            elif kind == "ping":
                self._pong = message.get("n")  # the server does not read: the last answer is enough
            elif kind == "bye":
                self._bye, self.status = message, message.get("status")
            elif kind == "ack" and isinstance(received, int):
                if received > self._written:
                    raise ParleyError("bad_message", "the server acknowledged messages that were not sent")
                self._confirm(received)
            self._change.notify_all()

    def _confirm(self, count: int) -> None:
        while self._acked < count:
            self._unacked_bytes -= len(self._unacked.popleft())
            self._acked += 1
        self._change.notify_all()

    def _resume(self, loss: OSError) -> None:
        """Comes back into the session. Raises ParleyError when that is impossible, or `retry` seconds are over."""
        now, progress = time.monotonic(), self._received + self._acked
        if progress > self._progress or now > self._since + 120:  # a connection that carried nothing is a failed try
            self._lost_at, self._progress = now, progress
        pause, failures, why = random.uniform(0.05, 0.1), 0, str(loss)
        while True:
            if time.monotonic() + pause > self._lost_at + self._server.retry or not self._welcome.get("resume_key"):
                raise ParleyError("lost", "the connection was lost: %s; %d messages are unconfirmed" % (why, self.unconfirmed))
            with self._change:
                if self._change.wait_for(lambda: self._leaving, pause):
                    raise ParleyError("lost", "this side has left the session")
            try:
                link, welcome = self._server.resume(self._welcome, self._received)
                break
            except ParleyError as error:
                if error.retry_after is None and error.code not in PASSING:
                    raise
                pause, why = max(error.retry_after or 0, min(5, 0.5 * 2**failures) * random.uniform(0.5, 1)), error.message
                failures += 1
        with self._change:
            self._link, self._since = link, time.monotonic()
            self._written, self._told, self._end_sent = welcome.get("received", -1), self._received, False
            if not self._acked <= self._written <= self._acked + len(self._unacked):
                raise ParleyError("bad_message", "the server claims to have received other messages than were sent")


def connect(host: str, port: int, *, user: Optional[str] = None, password: Optional[str] = None,
            token: Optional[str] = None, key: Optional[bytes] = None, pin: Optional[str] = None, ca: Optional[str] = None,
            tls: Optional[bool] = None, accept_new: bool = False, register: bool = False, keep_token: bool = True, retry: float = 120,
            timeout: float = 30, limit: int = LIMIT) -> Session:
    """Logs in. Without `token` a stored one is tried first, then `password`; a new token is stored where `parley connect`
    has its own ($PARLEY_DATA, else ~/.local/state/parley), unless `keep_token` is false. `register`: make the account first.

    TLS is used beyond this machine, and where `tls`, `pin`, `ca` or `accept_new` ask for it. `pin`: the key that the server
    prints, "sha256/…". `ca`: a file of authorities that decide instead, or "system". `accept_new`: trust a server that is
    not known yet. `key`: the shared key; from a file: bytes.fromhex(open(path).read()). `retry`: for how long to come back
    after a loss; 0: never. `timeout`: for each answer until the login. `limit`: the longest message that is accepted.

    Raises ParleyError. "full" and "busy" have the seconds to wait in `retry_after`.
    """
    server = Server(host, port, user, password, token, key, pin, ca, tls, accept_new, register, keep_token,
                    retry, timeout)
    return Session(server, limit)


def main(arguments: List[str]) -> int:
    """Lines in, lines out. The exit codes are those of `parley connect`."""
    match = re.match(r"(?:(.+)@)?(?:\[(.+)\]|([^\[\]]+)):(\d+)\Z", arguments[0]) if len(arguments) == 1 else None
    if match is None:
        print("usage: [PARLEY_PASSWORD=…] python3 parley.py [USER@]HOST:PORT < lines", file=sys.stderr)
        return 2
    user, address, name, port = match.groups()
    try:
        session = connect(address or name, int(port), user=user, password=os.environ.get("PARLEY_PASSWORD"))
    except ParleyError as error:
        print("parley:", error, file=sys.stderr)
        return {"no_password": 2, "timeout": 4}.get(error.code, 3 if error.code in REFUSED else 5 if error.code in AWAY else 1)
    failed = []  # type: List[Exception]

    def send() -> None:
        try:
            for line in sys.stdin.buffer:
                session.send_bytes(re.sub(rb"\r?\n\Z", b"", line))
        except (ParleyError, ValueError) as error:
            failed.append(error)
        session.end()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        for message in iter(session.recv_bytes, None):
            sys.stdout.buffer.write(message + b"\n")
            sys.stdout.buffer.flush()
        sender.join(0.1)  # the end of the input may be seen a moment later
        if sender.is_alive() or failed:
            raise failed[0] if failed else ParleyError("unconfirmed", "the service ended before the input")
    except (ParleyError, ValueError, OSError) as error:
        print("parley:", error, file=sys.stderr)
        code = error.code if isinstance(error, ParleyError) else "failed"
        return 6 if code in ("unconfirmed", "session_gone", "lost", "done") else 5 if code in AWAY else 1
    finally:
        session.leave()
    return 0


REFUSED = ("bad_credentials", "bad_name", "bad_password", "name_taken", "not_allowed", "token_refused", "too_many_attempts")
AWAY = ("full", "too_many_from_address", "denied", "penalised", "busy", "disabled", "shutting_down", "replaced", "revoked",
        "idle", "timeout", "too_slow")

if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # a thread may still wait for the input
