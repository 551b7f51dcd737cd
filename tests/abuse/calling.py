"""Calls as programs that do not know better would make them: raw parameters in, whatever is answered out."""

from __future__ import annotations

import http.client
import json
from types import TracebackType
from typing import Any, NamedTuple, Self
from xml.parsers.expat import ExpatError
from xmlrpc.client import Fault, Marshaller, loads

from tests.abuse.rude import PATIENCE, Rude
from tests.support.live import Live


class Answered(NamedTuple):
    """What a call came to: a result, or the code and message of an error."""

    result: Any = None
    code: int = 0
    message: str = ""


class Caller:
    """One connection of the user with full access, which is made anew when the daemon has closed it."""

    def __init__(self, live: Live) -> None:
        context = Rude(live).context()
        self._connection = http.client.HTTPSConnection("localhost", live.daemon.port, timeout=PATIENCE, context=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def json(self, method: str, parameters: Any) -> Answered:
        """By JSON-RPC; asserts that the answer is one."""
        call = {"jsonrpc": "2.0", "id": 7, "method": method, "params": parameters}
        answer = json.loads(self._post("/jsonrpc", "application/json", json.dumps(call)))
        assert {"jsonrpc": "2.0"}.items() <= answer.items()
        assert ("result" in answer) != ("error" in answer)
        if "result" in answer:
            assert 7 == answer["id"]
            return Answered(answer["result"])
        error = answer["error"]
        # What is no request has no id that could be told.
        assert answer["id"] == 7 or (answer["id"] is None and error["code"] == -32700)
        assert isinstance(error["data"], dict)
        return Answered(None, error["code"], error["message"])

    def xml(self, method: str, parameters: Any) -> Answered:
        """By XML-RPC; asserts that the answer is one."""
        body = f"<methodCall><methodName>{method}</methodName>{Xml().dumps((parameters,))}</methodCall>"
        try:
            (result,), _ = loads(self._post("/RPC2", "text/xml", body))
        except Fault as fault:
            return Answered(None, fault.faultCode, fault.faultString)
        except ExpatError as error:
            raise AssertionError("no XML") from error
        return Answered(result)

    def _post(self, path: str, kind: str, body: str) -> bytes:
        data = body.encode(errors="surrogatepass")
        try:
            self._connection.request("POST", path, data, {"Content-Type": kind})
            with self._connection.getresponse() as answer:
                assert 200 == answer.status
                return answer.read()
        except (http.client.RemoteDisconnected, ConnectionError):
            self._connection.close()
            raise


class Xml(Marshaller):
    """Writes whatever there is: null, and numbers of any size."""

    def __init__(self) -> None:
        super().__init__(allow_none=True)

    def dump_integer(self, value: int, write: Any) -> None:
        """As large as it comes."""
        write(f"<value><int>{value}</int></value>\n")

    dispatch = {**Marshaller.dispatch, int: dump_integer}  # type: ignore[dict-item]  # each takes its own type
