# python_client.py SCENE PORT [JSON of connect's options]: a scene with clients/python/parley.py, for python-client.test.ts.
# It prints what it saw. A ParleyError ends a scene with its code.
import json, os, socket, sys, threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "clients", "python"))
import parley

scene, port = sys.argv[1], int(sys.argv[2])
options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
count = options.pop("count", 1500)  # of the numbered messages
if "key" in options:
    options["key"] = bytes.fromhex(open(options["key"]).read().strip())
TEXTS = ["", "hello", "привет, мир", "你好", "\u0000\n\u2028"]


def connect():
    session = parley.connect("127.0.0.1", port, **options)
    session.settimeout(60)
    return session


def say(*words):
    print(*words, flush=True)


def echo():
    with connect() as session:
        for text in TEXTS:
            session.send_text(text)
            assert session.recv_text() == text, text
        large = os.urandom(session.max_frame)
        for _ in range(3):
            session.send_bytes(large)
            assert session.recv_bytes() == large
        try:
            session.send_bytes(large + b"x")
        except ValueError:
            say(session.user, session.service, "all came back")


def numbers():
    """Sends and receives numbered messages at once: each comes back once, in order."""
    with connect() as session:
        def send():
            for number in range(count):
                session.send_text("%d %s" % (number, "ж" * (number % 40)))
            session.end()
        sender = threading.Thread(target=send)
        sender.start()
        got = list(session)
        sender.join()
        assert got == ["%d %s" % (number, "ж" * (number % 40)) for number in range(count)], (len(got), got[:3])
        say("all came back", session.unconfirmed)


def one():
    with connect() as session:
        session.send_text("hi")
        say(session.user, session.recv_text(), repr(session) == "<parley.Session of ann at 127.0.0.1:%d>" % port)


def wait():
    """Says when it is ready, reads on, and says how the session ends."""
    with connect() as session:
        session.send_text("ready")
        for text in session:
            say(text)
        say("end", session.status)


def idle():
    """Is silent until a line comes on standard input."""
    with connect() as session:
        say("ready")
        sys.stdin.readline()
        session.send_text("still here")
        say(session.recv_text())


def late():
    """A time limit on either side of a message."""
    with connect() as session:
        session.settimeout(0.01)
        try:
            session.recv_text()
        except socket.timeout:
            session.send_text("after")
            session.settimeout(60)
            say(session.recv_text(), "the time limit")


def unread():
    """Sends without reading: waits when the window is full, and loses nothing."""
    with connect() as session:
        sent = 0
        session.settimeout(1)
        try:
            while sent < 100000:
                session.send_bytes(b"%d" % sent)
                sent += 1
        except socket.timeout:
            pass
        session.settimeout(60)
        say(1024 <= sent < 100000, all(session.recv_bytes() == b"%d" % number for number in range(sent)))


def serve():
    """A server in bare frames: upper case for each client, in a thread of its own."""
    with parley.MessageSocket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        say(server.getsockname()[1])

        def answer(client):
            with client:
                for text in client:
                    client.send_text(text.upper())

        while True:
            threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()


def bare():
    with parley.MessageSocket.over(socket.create_connection(("127.0.0.1", port))) as connection:
        if "key" in options:
            connection.prove_key(options["key"])
        for text in TEXTS:
            connection.send_text(text)
            assert connection.recv_text() == text
        connection.shutdown(socket.SHUT_WR)
        say("all came back", connection.recv_text())


def glued():
    """A thousand messages in one write."""
    texts = ["%d %s" % (number, TEXTS[number % len(TEXTS)]) for number in range(1000)]
    with parley.MessageSocket.over(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(b"".join(parley.frame_of(text.encode()) for text in texts))
        connection.shutdown(socket.SHUT_WR)
        assert list(connection) == texts
        say("all came back")


try:
    {"echo": echo, "numbers": numbers, "one": one, "wait": wait, "idle": idle, "late": late, "unread": unread, "serve": serve,
     "bare": bare, "glued": glued}[scene]()
except parley.ParleyError as error:
    say("error", error.code)
    if os.environ.get("SAY"):
        say(error.message)
