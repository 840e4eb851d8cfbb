# chat.py PORT JSON: one member of a chat, with clients/python/parley.py, for chat-clients.test.ts. JSON: options of connect, and
# the shared key as hexadecimal digits. It sends the lines of standard input, prints what it hears, and leaves with its input.
import json, os, sys, threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "clients", "python"))
import parley

options = json.loads(sys.argv[2])
if "key" in options:
    options["key"] = bytes.fromhex(options["key"])
with parley.connect("127.0.0.1", int(sys.argv[1]), **options) as session:
    def send():
        for line in sys.stdin:
            session.send_text(line.rstrip("\n"))
        session.end()

    sender = threading.Thread(target=send)
    sender.start()
    for text in session:
        print(text, flush=True)
    sender.join()
