"""multiprocessing.connection with a shared key, as it comes, in both roles. Two bytes strings, sent back by the peer.

    key.py client PORT KEYFILE        connects to parley serve --bare
    key.py listen KEYFILE             prints its port, and echoes to one client
"""

import sys
from multiprocessing.context import AuthenticationError
from multiprocessing.connection import Client, Listener


def read_key(path):
    with open(path) as file:
        return bytes.fromhex(file.read().strip())


if sys.argv[1] == "client":
    try:
        connection = Client(("127.0.0.1", int(sys.argv[2])), authkey=read_key(sys.argv[3]))
    except (AuthenticationError, EOFError, OSError) as error:
        sys.exit("refused: " + type(error).__name__)
    for payload in (b"hello", b"", b"x" * 100000):
        connection.send_bytes(payload)
        assert connection.recv_bytes() == payload
    connection.close()
    print("all came back")
else:
    listener = Listener(("127.0.0.1", 0), authkey=read_key(sys.argv[2]))
    print(listener.address[1], flush=True)
    try:
        connection = listener.accept()
    except (AuthenticationError, EOFError, OSError) as error:
        sys.exit("refused: " + type(error).__name__)
    try:
        while True:
            connection.send_bytes(connection.recv_bytes())
    except EOFError:
        print("done")
