import json, socket, struct, sys  # python3 client.py HOST PORT USER PASSWORD < lines
host, port, user, password = sys.argv[1:5]
connection = socket.create_connection((host, int(port)))
stream = connection.makefile("rb")
def send(payload):
    connection.sendall(struct.pack(">I", len(payload)) + payload)  # 4 bytes of length, then the bytes
def receive():
    header = stream.read(4)
    if len(header) < 4:
        sys.exit("the server closed the connection")
    return stream.read(struct.unpack(">I", header)[0])
hello = json.loads(receive().decode())
send(json.dumps({"type": "login", "method": "password", "user": user, "password": password}).encode())
welcome = json.loads(receive().decode())
if welcome["type"] != "welcome":
    sys.exit(welcome["message"])
for line in sys.stdin.buffer:  # a line is a message
    send(line.rstrip(b"\r\n"))
    sys.stdout.buffer.write(receive() + b"\n")
