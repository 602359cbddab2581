"""Runs aiosmtpd and prints its port. Arguments: a file for log-ins and mails, one JSON object a line; then words
that say how the server behaves."""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

OUT, *WORDS = sys.argv[1:]
OPTIONS = dict(word.split("=", 1) if "=" in word else (word, "") for word in WORDS)
LOST = int(OPTIONS.get("lose", "0"))
PASSWORD = "pass w\u00f6rd"


def log(**what):
    with open(OUT, "a") as file:
        file.write(json.dumps(what) + "\n")


def is_secure(session):
    return session.ssl is not None or "implicit" in OPTIONS


def authenticate(server, session, envelope, mechanism, data):
    is_right = (data.login, data.password) == (b"amanda@host.example", PASSWORD.encode())
    log(login=mechanism, tls=is_secure(session), right=is_right)
    return AuthResult(success=is_right, handled=is_right)


def parsed(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    defects = [str(defect) for value in message.values() for defect in value.defects] + list(map(str, message.defects))
    return {
        "names": message.keys(),
        "headers": {name: str(value) for name, value in message.items()},
        "sender": [message["from"].addresses[0].display_name, message["from"].addresses[0].addr_spec],
        "body": message.get_content(),
        "defects": defects,
    }


class Handler:
    lost = 0

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        if "from" in OPTIONS:
            return OPTIONS["from"]
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if "to" in OPTIONS and address.startswith("b"):
            return OPTIONS["to"]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        is_poison = "poison" not in OPTIONS or OPTIONS["poison"].encode() in envelope.original_content
        log(
            taken=not is_poison or "data" not in OPTIONS,
            hello=session.host_name,
            mail=envelope.mail_from,
            rcpt=envelope.rcpt_tos,
            tls=is_secure(session),
            data=envelope.original_content.decode("ascii"),
            **parsed(envelope.original_content),
        )
        await asyncio.sleep(float(OPTIONS.get("slow", "0")))
        if self.lost < LOST:
            Handler.lost += 1
            server.transport.abort()
        return is_poison and OPTIONS.get("data") or "250 2.0.0 Ok: queued as 4711"


def server():
    context = None
    if "certificate" in OPTIONS:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(OPTIONS["certificate"], OPTIONS["key"])
    is_implicit = "implicit" in OPTIONS
    options = {"tls_context": None if is_implicit else context, "enable_SMTPUTF8": False}
    if context and not is_implicit:
        options["require_starttls"] = True
    if "auth" in OPTIONS:
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": context is not None}
        options["auth_exclude_mechanism"] = {"PLAIN", "LOGIN"} - set(OPTIONS["auth"].split(","))
        if is_implicit:
            options["auth_require_tls"] = False
    return (lambda: SMTP(Handler(), hostname="mail.example", **options)), (context if is_implicit else None)


async def main():
    factory, context = server()
    listener = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=context)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


asyncio.run(main())
