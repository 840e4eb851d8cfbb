# bare.py PORT: multiprocessing.connection as it comes, without authkey, against `serve --bare`.
import sys
from multiprocessing.connection import Client

with Client(("127.0.0.1", int(sys.argv[1]))) as connection:
    for size in (0, 1, 16384, 16385, 300000, 1000000):
        payload = bytes(i % 251 for i in range(1000)) * (size // 1000) + b"x" * (size % 1000)
        connection.send_bytes(payload)
        assert connection.recv_bytes() == payload, size
    for i in range(1000):
        connection.send_bytes(b"%d" % i)
    assert [connection.recv_bytes() for _ in range(1000)] == [b"%d" % i for i in range(1000)]
print("all came back")
