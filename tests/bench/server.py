"""A loopback server in its own process that accepts every request."""

import os
import signal
import socket
import threading
import time


class Server:
    """Answers after `delay` seconds, until it is closed."""

    def __init__(self, delay=0.0):
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = listener.getsockname()[1]
        self.process = os.fork()
        if self.process == 0:
            try:
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=answer, args=(connection, delay), daemon=True).start()
            finally:
                os._exit(0)
        listener.close()

    def close(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def answer(connection, delay):
    with connection:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing = int(lengths[0]) - len(body) if lengths else 0
        while missing > 0:
            missing -= len(connection.recv(65536)) or missing
        time.sleep(delay)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{"id":"1"}')
