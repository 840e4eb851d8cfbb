import json, socket, struct, sys
usage = "usage: python3 client.py HOST PORT USER PASSWORD < lines"
host, port, user, password = sys.argv[1:] if len(sys.argv) == 5 else sys.exit(usage)
connection = socket.create_connection((host, int(port)))
stream = connection.makefile("rb")
def send(payload):
    connection.sendall(struct.pack(">I", len(payload)) + payload)  # 4 bytes of length, then the bytes
def receive():
    header = stream.read(4)
    return stream.read(struct.unpack(">I", header)[0]) if header else sys.exit("the server closed the connection")
receive()  # hello
login = {"type": "login", "method": "password", "user": user, "password": password, "token": False}
send(json.dumps(login, separators=(",", ":")).encode())  # no white space
welcome = json.loads(receive().decode())
if welcome["type"] != "welcome":
    sys.exit(welcome["message"])
for line in sys.stdin.buffer:  # a line is a message
    send(line.rstrip(b"\r\n"))
    sys.stdout.buffer.write(receive() + b"\n")
