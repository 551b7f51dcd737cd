"""A build asked for, followed and fetched by Python's clients: python_clients.py xmlrpc|jsonrpclib SETTINGS."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request
import xmlrpc.client
from pathlib import Path
from typing import Any

import jsonrpclib


def main(which: str, text: str) -> None:
    """Print what came of it."""
    settings = json.loads(text)
    context = ssl.create_default_context(cafile=settings["authority"])
    context.load_cert_chain(settings["certificate"], settings["key"])
    url = f"https://localhost:{settings['port']}"

    def get(page: str) -> bytes:
        with urllib.request.urlopen(url + page, context=context) as answer:
            return bytes(answer.read())

    proxy: Any = {
        "xmlrpc": lambda: xmlrpc.client.ServerProxy(f"{url}/RPC2", context=context),
        "jsonrpclib": lambda: jsonrpclib.ServerProxy(f"{url}/jsonrpc", context=context),
    }[which]()
    code = refusal(proxy)
    wanted = {"StreamName": settings["stream"], "ExpiresIn": 3600, "MaxSourceAge": 86400}
    build_id = proxy.Imaginator.SubmitBuild(wanted)["BuildId"]
    log = get(f"/showBuildLog?{build_id}&follow").decode()
    image = proxy.Imaginator.BuildImage(wanted)["ImageName"]
    Path(settings["output"]).write_bytes(get(f"/getImage?{image}"))
    print(json.dumps({"code": code, "log": log, "image": image}))


def refusal(proxy: Any) -> int:
    """The code of an error."""
    try:
        proxy.Imaginator.SubmitBuild({"StreamName": "no/such"})
    except xmlrpc.client.Fault as fault:
        return fault.faultCode
    except jsonrpclib.ProtocolError as error:
        code: int = error.args[0][0]
        return code
    raise AssertionError("not refused")


main(*sys.argv[1:])
