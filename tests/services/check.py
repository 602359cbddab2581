"""Delivers to servers that others wrote, and asks them what arrived. Arguments: the program, and the directory in
which run.sh installed the servers."""

import contextlib
import http.client
import http.server
import importlib.util
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

BINARY, INSTALLED = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])

# The seconds that a server may take to start.
START_LIMIT = 60

# User names, some of which try to be markup or a mention.
USERS = ["amanda", "<!channel> & <b>", "`@everyone` @room", "[x](https://y.example)", "שרת 王"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url):
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{url} did not answer within {START_LIMIT} seconds")


def ask(url, body=None, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
        return json.load(answer)


def create_room(base, token):
    """Creates a room, within the homeserver's rate limit."""
    for _ in range(START_LIMIT):
        try:
            return ask(f"{base}/_matrix/client/v3/createRoom", {}, token)["room_id"]
        except urllib.error.HTTPError as error:
            if error.code != 429:
                raise
            time.sleep(1)
    sys.exit(f"the homeserver created no room within {START_LIMIT} seconds")


@contextlib.contextmanager
def running(command, url, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for(url)
        yield
    finally:
        process.terminate()
        process.wait(30)


class Host:
    """A host with one target."""

    def __init__(self, directory, service, settings):
        self.state = os.path.join(directory, f"state-{service}-{time.monotonic_ns()}")
        os.mkdir(self.state, 0o700)
        self.database = f"{self.state}/queue/events.db"
        os.mkdir(f"{self.state}/queue", 0o700)
        self.config = f"{self.state}/config.toml"
        with open(self.config, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(
                f"[host]\nname = 'host.example'\n[queue]\npath = '{self.database}'\nspool = '{self.state}/spool'\n"
                f"[notification]\nservice = '{service}'\n[notification.{service}]\n{settings}\n"
            )

    def run(self, command, environment=()):
        words = ["env", "-i", *environment, BINARY, "--config", self.config, command]
        return subprocess.run(words, capture_output=True, text=True, timeout=70)

    def login(self, user):
        items = {"SERVICE": "sshd", "USER": user, "TTY": "ssh", "RHOST": "192.0.2.7", "TYPE": "open_session"}
        done = self.run("queue", [f"PAM_{name}={value}" for name, value in items.items()])
        assert done.returncode == 0 and not done.stderr, done.stderr

    def send(self, is_well=True):
        done = self.run("send")
        assert (done.returncode == 0) == is_well, done.stderr
        return done.stderr

    def end_waits(self):
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.execute("UPDATE target SET wait_ms = 0, failures = 0")
            connection.commit()


class Forgetful(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the homeserver, and drops the answers while `is_losing`."""

    upstream = 0
    is_losing = True

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, text = self.ask(body)
        # The answer that is dropped must be to an accepted message.
        for _ in range(8):
            if not self.is_losing or status != 429:
                break
            time.sleep(1)
            status, text = self.ask(body)
        if not self.is_losing:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text)

    def ask(self, body):
        server = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=20)
        server.request("PUT", self.path, body, {"Authorization": self.headers["Authorization"]})
        answer = server.getresponse()
        return answer.status, answer.read()

    def log_message(self, *_):
        pass


def texts_of(messages, users):
    """Returns the users in the messages, in order."""
    lines = [line for message in messages for line in message.split("\n")]
    return [user for line in lines for user in users if line.startswith(f"'{user}' (192.0.2.7) logged in to ")]


def matrix(directory):
    if importlib.util.find_spec("synapse") is None:
        return print("SKIP: matrix: synapse cannot be installed")
    port, config = free_port(), f"{directory}/homeserver.yaml"
    generate = ["--server-name", "host.example", "--config-path", config, "--generate-config"]
    python = [sys.executable, "-m", "synapse.app.homeserver"]
    options = ["--report-stats=no", "--data-directory", directory]
    subprocess.run([*python, *generate, *options], check=True, capture_output=True, cwd=directory)
    with open(config) as file:
        text = file.read().replace("port: 8008", f"port: {port}").replace("    - ::1\n", "")
    with open(config, "w") as file:
        file.write(text + "\nrc_message: {per_second: 0.5, burst_count: 3}\n")
    base = f"http://127.0.0.1:{port}"
    with running([*python, "--config-path", config], f"{base}/_matrix/client/versions", cwd=directory):
        register = os.path.join(os.path.dirname(sys.executable), "register_new_matrix_user")
        user = ["-u", "notifier", "-p", "password", "--no-admin"]
        subprocess.run([register, *user, "-c", config, base], check=True, capture_output=True)
        identifier = {"type": "m.id.user", "user": "notifier"}
        login = {"type": "m.login.password", "identifier": identifier, "password": "password"}
        token = ask(f"{base}/_matrix/client/v3/login", login)["access_token"]
        room = create_room(base, token)
        matrix_delivers(directory, base, room, token)
        matrix_explains(directory, base, room, token)
        matrix_forgets(directory, port, token)


def messages_of(base, room, token):
    room = urllib.parse.quote(room, safe="")
    events = ask(f"{base}/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100", token=token)["chunk"]
    return [event["content"]["body"] for event in reversed(events) if event["type"] == "m.room.message"]


def settings_of(base, room, token):
    return f"server_url = '{base}'\nroom = '{room}'\ntoken = '{token}'"


def matrix_delivers(directory, base, room, token):
    """Every name arrives unchanged, and the homeserver's rate limit loses nothing."""
    host = Host(directory, "matrix", settings_of(base, room, token))
    for user in USERS:
        host.login(user)
        host.send()
    assert texts_of(messages_of(base, room, token), USERS) == USERS, messages_of(base, room, token)
    print("matrix: delivered, within the rate limit")


def matrix_explains(directory, base, room, token):
    for wrong, said in [
        (settings_of(base, room, "syt_wrong"), "the server does not know the token"),
        (settings_of(base, "!nowhere:host.example", token), "let the user join the room"),
        (settings_of(f"{base}/client", room, token), "nothing is there: check the address"),
    ]:
        host = Host(directory, "matrix", wrong)
        host.login("amanda")
        errors = host.send(is_well=False)
        assert said in errors and "everything is kept" in errors, errors
    print("matrix: mistakes are explained")


def matrix_forgets(directory, port, token):
    """After a lost answer, the same message counts once; one with one more event is a new message with both."""
    Forgetful.upstream = port
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    base, through = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{proxy.server_address[1]}"
    for more, expected in [([], ["amanda"]), (["ben"], ["amanda", "amanda", "ben"])]:
        room = create_room(base, token)
        host = Host(directory, "matrix", settings_of(through, room, token))
        Forgetful.is_losing = True
        host.login("amanda")
        host.send(is_well=False)
        assert texts_of(messages_of(base, room, token), ["amanda"]) == ["amanda"]
        Forgetful.is_losing = False
        for user in more:
            host.login(user)
        host.end_waits()
        host.send()
        users = texts_of(messages_of(base, room, token), ["amanda", "ben"])
        assert users == expected, users
    proxy.shutdown()
    print("matrix: a lost answer loses nothing, and a retry makes no second copy")


SERVE_TELEGRAM = """
const Server = require('telegram-test-api');
new Server({port: Number(process.argv[1]), host: '127.0.0.1'}).start();
"""


def telegram(directory):
    if not shutil.which("node") or not os.path.isdir(f"{INSTALLED}/node_modules/telegram-test-api"):
        return print("SKIP: telegram: telegram-test-api cannot be installed")
    port, token = free_port(), "123456:sample-token"
    base = f"http://127.0.0.1:{port}"
    with running(["node", "-e", SERVE_TELEGRAM, str(port)], f"{base}/", cwd=INSTALLED):
        host = Host(directory, "telegram", f"api_base = '{base}'\ntoken = '{token}'\nchat = '-100'")
        for user in USERS:
            host.login(user)
        host.send()
        history = ask(f"{base}/getUpdatesHistory", {"token": token})["result"]
        messages = [update["message"] for update in history]
        assert texts_of([message["text"] for message in messages], USERS) == USERS, messages
        assert all(message["chat_id"] == "-100" for message in messages), messages
    print("telegram: delivered")


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what the reference library finds rightly signed, and answers 401 to anything else."""

    secret = SECRET
    events = []

    def do_POST(self):
        from standardwebhooks.webhooks import Webhook, WebhookVerificationError

        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.events.extend(Webhook(self.secret).verify(body, dict(self.headers)))
            status = 204
        except WebhookVerificationError:
            status = 401
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


def webhook(directory):
    if importlib.util.find_spec("standardwebhooks") is None:
        return print("SKIP: webhook: standardwebhooks cannot be installed")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    host = Host(directory, "webhook", f"url = '{url}'\nsecret = '{SECRET}'")
    for user in USERS:
        host.login(user)
    Receiver.secret = "whsec_" + "AAAA" * 8
    told = host.send(is_well=False)
    assert "if the signature was rejected: compare the secret" in told and not Receiver.events, told
    Receiver.secret = SECRET
    host.end_waits()
    host.send()
    assert [event["user"] for event in Receiver.events] == USERS, Receiver.events
    server.shutdown()
    print("webhook: the reference library finds the signature right, and another secret's wrong")


with tempfile.TemporaryDirectory() as directory:
    webhook(directory)
    matrix(directory)
    telegram(directory)
