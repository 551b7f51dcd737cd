"""The document that describes the methods: whole, and true of what is answered."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest
import pytest_twisted

from imaginator.model.build import BuildFailure, BuildRequest
from imaginator.rpc.certificates import Wish
from imaginator.rpc.methods import METHODS, description
from tests.rpc.test_methods import IMAGE, NAME
from tests.support.fake_builder import FakeStore
from tests.support.rpc_site import RpcSite

ASKED: dict[str, dict[str, object]] = {
    "Imaginator.SubmitBuild": {"StreamName": "base/web", "ExpiresIn": 3600},
    "Imaginator.ListBuilds": {},
    "Imaginator.DisableAutoBuilds": {"DisableFor": 60},
    "Imaginator.StartAutoBuilds": {},
    "ImageServer.ListImages": {},
    "ImageServer.FindLatestImage": {"StreamName": "base/web"},
    "ImageServer.GetImage": {"ImageName": NAME},
    "system.listMethods": {},
    "rpc.discover": {},
}


def described(name: str) -> dict[str, Any]:
    """A method's entry."""
    entries: Any = description()["methods"]
    return next(dict(entry) for entry in entries if entry["name"] == name)


def answers(name: str) -> jsonschema.Draft202012Validator:
    """What checks the answers of a method."""
    schema = {**described(name)["result"]["schema"], "components": description()["components"]}
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name: str) -> None:
    """Its fields are there with schemas, those that have to be given marked, and what its schemas refer to exists."""
    entry = described(name)
    fields = msgspec.structs.fields(METHODS[name].request)

    assert [(field.encode_name, field.required) for field in fields] == [
        (parameter["name"], parameter["required"]) for parameter in entry["params"]
    ]
    assert (METHODS[name].help, METHODS[name].access.value in entry["description"]) == (entry["summary"], True)
    known = {f"#/components/schemas/{kind}" for kind in description()["components"]["schemas"]}  # type: ignore[index]
    text = json.dumps(entry)
    assert text.count('"$ref"') == sum(text.count(f'"$ref": "{reference}"') for reference in known)


@pytest.mark.parametrize("name", ASKED)
@pytest_twisted.ensureDeferred
async def test_answers_fit(site: RpcSite, name: str) -> None:
    """What is answered is what the document says."""
    assert isinstance(site.builder.store, FakeStore)
    site.builder.store.images[NAME] = IMAGE
    failed = site.builder.add(BuildRequest(stream_name="base/web", variables={"A": "b"}))
    site.builder.fail(failed.build_id, BuildFailure(-32005, "build-failed", "no", {"Problems": []}))

    answer = await site.call(site.certify(Wish("root-user")), name, **ASKED[name])

    answers(name).validate(answer)
