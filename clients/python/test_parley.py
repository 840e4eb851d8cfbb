"""The parts of parley.py that need no server: python3 -m unittest test_parley"""
import base64
import json
import os
import socket
import tempfile
import threading
import unittest
from typing import Any, Tuple

import parley
from parley import Frames, MessageSocket, ParleyError

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "..", "..", "test", "vectors", "wire.json"), encoding="utf-8") as file:
    VECTORS = json.load(file)
TOKEN = "prly_Ab3dE6gH_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf4diXcE"


def pair(limit: int = parley.LIMIT) -> Tuple[MessageSocket, MessageSocket]:
    listener = MessageSocket(limit=limit)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    client = MessageSocket(limit=limit)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    listener.close()
    return client, server


class Cases(unittest.TestCase):
    def code(self, call: Any, *arguments: Any) -> str:
        with self.assertRaises(ParleyError) as caught:
            call(*arguments)
        return caught.exception.code

    def pair(self, limit: int = parley.LIMIT) -> Tuple[MessageSocket, MessageSocket]:
        both = pair(limit)
        for one in both:
            self.addCleanup(one.close)
        return both


class OfFrames(Cases):
    def test_the_headers_of_the_vectors(self) -> None:
        for vector in VECTORS["framing"]:
            frames = Frames(1 << 50)
            frames.buffer += bytes.fromhex(vector["header_hex"])
            if "error" in vector:
                self.assertEqual(self.code(frames.next), vector["error"])
            elif vector["length"] == 0:
                self.assertEqual(frames.next(), (False, b""))
            else:
                self.assertIsNone(frames.next())
                self.assertEqual(frames.missing, vector["length"])
                if not vector["header_hex"].startswith("ffffffff"):
                    self.assertEqual(parley.frame_of(b"x" * min(vector["length"], 99))[4:], b"x" * min(vector["length"], 99))

    def test_control_frames_once_they_are_agreed(self) -> None:
        for vector in VECTORS["control_headers"]:
            frames = Frames(8)
            frames.control = True
            frames.buffer += bytes.fromhex(vector["header_hex"]) + b"c" * vector["length"]
            self.assertEqual(frames.next(), (True, b"c" * vector["length"]))
        for header in VECTORS["bad_headers"]:
            frames = Frames(1 << 30)
            frames.control = True
            frames.buffer += bytes.fromhex(header)
            self.assertEqual(self.code(frames.next), "bad_length")
            self.assertEqual(self.code(frames.next), "bad_length")


class OfProofs(Cases):
    def test_the_token_of_the_vectors(self) -> None:
        token = VECTORS["token"]
        self.assertEqual(parley.parse_token(token["token"]), (token["id"], bytes.fromhex(token["secret_hex"])))
        for wrong in (token["token"][:-1] + "F", token["token"] + "\n", "prly_", token["token"].lower()):
            with self.assertRaises(ValueError) as caught:
                parley.parse_token(wrong)
            self.assertNotIn(token["secret_text"][:8], str(caught.exception))

    def test_the_proofs_of_the_vectors(self) -> None:
        seen = set()
        for one in VECTORS["token_proofs"]:
            label, binding = one["label"], bytes.fromhex(one["binding_hex"])
            if binding and not label.endswith(" end-point"):
                continue  # bound to an exporter, which this client has not
            nonce = base64.b64encode(bytes.fromhex(one["nonce_hex"])).decode()
            label = label.replace(" end-point", "")
            self.assertEqual(parley.prove(bytes.fromhex(one["secret_hex"]), label, nonce, binding), one["proof_base64"])
            seen.add((label, binding != b""))
        self.assertEqual(len(seen), 4)


class OfMessageSocket(Cases):
    def test_messages_in_both_directions(self) -> None:
        client, server = self.pair()
        for text in ("", "hello", "привет, мир", "你好", "x" * 100000):
            client.send_text(text)
            self.assertEqual(server.recv_text(), text)
            server.send_bytes(text.encode())
            self.assertEqual(client.recv_bytes(), text.encode())
        client.send_text("a")
        client.send_text("b")
        client.close()
        self.assertEqual(list(server), ["a", "b"])
        self.assertIsNone(server.recv_text())

    def test_a_large_message_while_the_peer_sends_one(self) -> None:
        client, server = self.pair()
        large = os.urandom(5 << 20)
        thread = threading.Thread(target=client.send_bytes, args=(large,))
        thread.start()
        self.assertEqual(server.recv_bytes(), large)
        thread.join()

    def test_single_bytes_and_glued_messages(self) -> None:
        client, server = self.pair()
        torn = b"\0\0\0\3abc\0\0\0\0\0\0\0\1d"
        thread = threading.Thread(target=lambda: list(map(client.send, (torn[at : at + 1] for at in range(len(torn))))))
        thread.start()
        self.assertEqual([server.recv_bytes() for _ in range(3)], [b"abc", b"", b"d"])
        thread.join()
        client.sendall(parley.frame_of(b"x") * 1000)
        self.assertEqual([server.recv_bytes() for _ in range(1000)], [b"x"] * 1000)

    def test_a_timeout_inside_a_message_loses_nothing(self) -> None:
        client, server = self.pair()
        server.settimeout(0.01)
        for piece in (b"\0", b"\0\0\5", b"he", b"llo\0"):
            with self.assertRaises(socket.timeout):
                server.recv_text()
            client.sendall(piece)
        self.assertEqual(server.recv_text(), "hello")
        with self.assertRaises(socket.timeout):
            server.recv_text()
        server.setblocking(False)
        with self.assertRaises(BlockingIOError):
            server.recv_text()
        server.setblocking(True)
        client.sendall(b"\0\0\0")
        self.assertEqual(server.recv_text(), "")

    def test_a_timeout_inside_a_sent_message_loses_nothing(self) -> None:
        client, server = self.pair()
        client.settimeout(0.01)
        large = os.urandom(12 << 20)
        with self.assertRaises(socket.timeout):
            client.send_bytes(large)
        client.settimeout(20)
        thread = threading.Thread(target=client.send_bytes, args=(b"next",))
        thread.start()
        self.assertEqual(server.recv_bytes(), large)
        self.assertEqual(server.recv_bytes(), b"next")
        thread.join()

    def test_an_end_inside_a_message(self) -> None:
        for piece in (b"\0", b"\0\0\0\1", b"\0\0\0\5hell", b"\xff\xff\xff\xff\0"):
            client, server = self.pair()
            client.sendall(piece)
            client.close()
            self.assertEqual(self.code(server.recv_text), "frame_cut")
            self.assertEqual(self.code(server.recv_text), "frame_cut")

    def test_a_limit_that_accept_hands_on(self) -> None:
        client, server = self.pair(limit=5)
        client.send_text("12345")
        self.assertEqual(server.recv_text(), "12345")
        client.sendall(b"\0\0\0\6")
        self.assertEqual(self.code(server.recv_text), "bad_length")
        self.assertEqual(self.code(server.recv_text), "bad_length")

    def test_strict_utf8(self) -> None:
        client, server = self.pair()
        for wrong in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"):
            client.send_bytes(wrong)
            self.assertEqual(self.code(server.recv_text), "bad_message")
        client.send_text("next")
        self.assertEqual(server.recv_text(), "next")
        with self.assertRaises(UnicodeEncodeError):
            client.send_text("\ud800")

    def test_many_threads_on_one_socket(self) -> None:
        client, server = self.pair()
        work = [threading.Thread(target=lambda n=n: list(map(client.send_text, [str(n) * 5000] * 50))) for n in range(5)]
        for one in work:
            one.start()
        texts = sorted(server.recv_text() or "" for _ in range(250))
        self.assertEqual(texts, sorted(str(n) * 5000 for n in range(5) for _ in range(50)))
        for one in work:
            one.join()

    def test_what_a_socket_is_made_of(self) -> None:
        client, server = self.pair()
        client.settimeout(7)
        taken = MessageSocket.over(client)
        self.addCleanup(taken.close)
        self.assertEqual((taken.gettimeout(), client.fileno()), (7, -1))
        taken.send_text("still there")
        self.assertEqual(server.recv_text(), "still there")


class InFolder(Cases):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        before = os.environ.get("PARLEY_DATA")
        os.environ["PARLEY_DATA"] = os.path.join(folder.name, "data")
        self.addCleanup(lambda: os.environ.pop("PARLEY_DATA") if before is None else os.environ.update(PARLEY_DATA=before))


class OfFiles(InFolder):
    def entry(self, user: str) -> Any:
        return {"server": "a:1", "user": user, "token": "t-" + user, "expires": "2999-01-01T00:00:00.000Z"}

    def test_entries_come_and_go(self) -> None:
        self.assertEqual(parley.read_entries("tokens"), [])
        parley.keep("tokens", self.entry("ann"), lambda one: False)
        parley.keep("tokens", self.entry("bob"), lambda one: False)
        parley.keep("tokens", dict(self.entry("ann"), more=1), lambda one: bool(one["user"] == "ann"))
        self.assertEqual(parley.read_entries("tokens"), [self.entry("bob"), dict(self.entry("ann"), more=1)])
        parley.keep("tokens", {}, lambda one: bool(one["user"] == "bob"))
        self.assertEqual(len(parley.read_entries("tokens")), 1)
        path = parley.path_of("tokens")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(sorted(os.listdir(os.path.dirname(path))), [".tokens.json.lock", "tokens.json"])

    def test_a_file_that_others_could_read_or_that_is_damaged_is_refused(self) -> None:
        parley.keep("tokens", self.entry("ann"), lambda one: False)
        path = parley.path_of("tokens")
        os.chmod(path, 0o644)
        self.assertEqual(self.code(parley.read_entries, "tokens"), "file")
        os.chmod(path, 0o600)
        for text in ("", "[]", "{}", '{"version":1,"tokens":[{"server":1}]}', '{"tokens":[3]}'):
            with open(path, "w") as damaged:
                damaged.write(text)
            self.assertEqual(self.code(parley.read_entries, "tokens"), "file")
        with self.assertWarns(UserWarning) as caught:
            parley.keep("tokens", self.entry("ann"), lambda one: False)
        self.assertNotIn("t-ann", str(caught.warning))
        with open(path) as still:
            self.assertEqual(still.read(), text)


class OfSecrets(Cases):
    def test_no_secret_is_shown(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with self.assertRaises(ParleyError) as caught:
                parley.connect("127.0.0.1", unused.getsockname()[1], user="ann", password="hunter22", token=TOKEN)
        self.assertEqual(caught.exception.code, "unreachable")
        for said in (repr(caught.exception), str(caught.exception)):
            self.assertNotIn("hunter22", said)
            self.assertNotIn("003aUlTJC7", said)

    def test_the_sentence_of_a_server_does_not_act_on_a_terminal(self) -> None:
        self.assertEqual(str(ParleyError("full", "a\x1b[2Jb\n\u202ec д")), "a\\u001b[2Jb\\u000a\\u202ec д")


class OfLogins(InFolder):
    def test_what_is_malformed_in_hello_and_welcome(self) -> None:
        hello = {"type": "hello", "protocol": "parley/1", "nonce": "", "max_frame": 9, "auth": ["password", "token"]}
        welcome = {"type": "welcome", "user": "ann"}
        for name, wrong in (("nonce", "A"), ("nonce", "\u0434"), ("nonce", 1), ("max_frame", "9"), ("auth", "token"), ("bindings", 1),
                            ("server", 1)):
            self.assertEqual(self.code(self.log_in, TOKEN, dict(hello, **{name: wrong}), welcome), "bad_message", name)
        for name, wrong in (("user", 1), ("token", 1), ("expires", []), ("session", 1), ("resume_key", {}), ("keepalive", "soon"),
                            ("received", "1"), ("server", 1)):
            self.assertEqual(self.code(self.log_in, TOKEN, hello, dict(welcome, **{name: wrong})), "bad_message", name)
        self.assertEqual(self.code(parley.parse, b"[" * 60000), "bad_message")
        self.log_in(TOKEN, hello, dict(welcome, keepalive=0.5, session=None))

    def test_a_token_that_is_none_is_neither_stored_nor_shown(self) -> None:
        hello = {"type": "hello", "protocol": "parley/1", "nonce": "", "max_frame": 9, "auth": ["none"]}
        welcome = {"type": "welcome", "user": "ann", "expires": "2999-01-01T00:00:00.000Z"}
        self.log_in(None, hello, dict(welcome, token="prly_"))
        self.assertEqual(parley.read_entries("tokens"), [])
        self.log_in(None, hello, dict(welcome, token=TOKEN))
        self.assertEqual([one["token"] for one in parley.read_entries("tokens")], [TOKEN])
        hello["auth"] = ["password", "token"]
        self.assertEqual(self.code(self.log_in, None, hello, welcome, "prly_"), "no_password")
        self.log_in(None, hello, welcome, TOKEN)

    def log_in(self, token: Any, hello: Any, welcome: Any, stored: str = "") -> None:
        """Logs in at a server that says only these two messages, perhaps with a stored token."""
        with MessageSocket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(1)

            def answer() -> None:
                client, _ = server.accept()
                try:
                    with client:
                        client.send_text(json.dumps(hello))
                        client.send_text(json.dumps(welcome))
                        while client.recv_bytes() is not None:
                            pass
                except OSError:
                    pass  # the client has left

            port = server.getsockname()[1]
            if stored:
                entry = {"server": "127.0.0.1:%d" % port, "user": "ann", "token": stored, "expires": "2999-01-01T00:00:00.000Z"}
                parley.keep("tokens", entry, lambda one: False)
            thread = threading.Thread(target=answer)
            thread.start()
            try:
                parley.connect("127.0.0.1", port, user="ann", token=token, keep_token=token is None,
                               retry=0).leave()
            finally:
                thread.join()


if __name__ == "__main__":
    unittest.main()
