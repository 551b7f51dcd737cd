"""Manifests: decoded whole, refused with file, place and reason."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.errors import ConfigurationError
from imaginator.model.image import Owners, Trigger
from imaginator.model.manifest import ComputedFile, ManifestFile, decode_manifest, decode_source_image

FILE = {"manifest": b'{"SourceImage": "base", "Other": 1}'}


def test_the_texts_of_a_manifest() -> None:
    """Comments go, an empty filter differs from none, JSON wins over lines."""
    manifest = decode_manifest(
        {
            **FILE,
            "package-list": b"# tools\n\n vim \ncurl",
            "filter": b"",
            "computed-files": b"/etc/a host:1\n",
            "computed-files.json": b'[{"Filename": "/etc/b", "Source": "host:2"}]',
            "triggers.add": b"[]",
            "owners.json": b'{"Users": ["ann"]}',
            "tags.json": b'{"k": "$V"}',
        },
        "m",
    )

    assert manifest.file.source_image == "base"
    assert manifest.packages == ("vim", "curl")
    assert (manifest.filter, manifest.filter_add) == ((), None)
    assert manifest.computed_files == (ComputedFile("/etc/b", "host:2"),)
    assert (manifest.triggers, manifest.triggers_add) == (None, ())
    assert (manifest.owners, manifest.tags) == (Owners(("ann",)), {"k": "$V"})


def test_every_json_file_has_comments_and_any_case() -> None:
    """As in the configurations; exact spelling wins."""
    manifest = decode_manifest(
        {
            "manifest": b'# one\n{"sourceimage": "other", "SourceImage": "base", "FILTERLINES": ["/x"]\n ! two\n}',
            "computed-files.add.json": b'// one\n[{"fileName": "/etc/b", "SOURCE": "host:2"}]',
            "triggers": b'[{"matchlines": ["/x"], "service": "s", "doreboot": true}\n\t# two\n]',
            "owners.json": b'{"groups": ["eng"]}',
            "tags.json": b'{"Case": "a",\n// both\n"case": "b"}',
        },
        "m",
    )

    assert ManifestFile(source_image="base", filter_lines=("/x",)) == manifest.file
    assert (ComputedFile("/etc/b", "host:2"),) == manifest.computed_files_add
    assert (Trigger(("/x",), "s", do_reboot=True),) == manifest.triggers
    assert (Owners(groups=("eng",)), {"Case": "a", "case": "b"}) == (manifest.owners, manifest.tags)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"manifest": b"{}"}, r"m/manifest: line 1, column 1: \$: missing required field SourceImage"),
        (
            {"manifest": b'{"SourceImage": "a", "FilterLines": ["("]}'},
            r"m/manifest: line 1, column 38: \$.FilterLines\[0\]: '\(' is no regular",
        ),
        (
            {"manifest": b'{"SourceImage": "a", "WithoutNetwork": ["files"]}'},
            r"m/manifest: line 1, column 41: \$.WithoutNetwork\[0\]: 'files' is not run: expected some of ",
        ),
        (
            {"manifest": b'{"SourceImage": "a", "SourceImageBuildVariables": {"A=": "b"}}'},
            r"m/manifest: line 1, column 52: \$.SourceImageBuildVariables\['A='\]: variable 'A=': expected a name",
        ),
        ({"filter": b"# comment\n\n("}, r"m/filter: line 3: '\('"),
        ({"filter": b"", "filter.add": b""}, "m: both filter and filter.add: expected one"),
        ({"computed-files": b"", "computed-files.add.json": b"[]"}, "m: both computed-files and computed-files.add"),
        ({"computed-files": b"\netc/a host"}, "m/computed-files: line 2: 'etc/a': expected an absolute path"),
        (
            {"computed-files.add": b"/tmp/c host:1"},
            "m/computed-files.add: line 1: '/tmp/c': nothing below /tmp is ever part of an image",
        ),
        ({"triggers": b"{}"}, r"m/triggers: line 1, column 1: \$: expected an array, got an object"),
        ({"tags.json": b'{"a": 1}'}, r"m/tags.json: line 1, column 7: \$.a: expected a string, got a number"),
    ],
)
def test_a_bad_manifest_names_file_and_place(texts: dict[str, bytes], sentence: str) -> None:
    """Each mistake is one sentence."""
    with pytest.raises(ConfigurationError, match=sentence):
        decode_manifest({**FILE, **texts}, "m")


def test_the_file_called_manifest_is_required() -> None:
    """A directory without one is no manifest."""
    with pytest.raises(ConfigurationError, match="m: no file called manifest"):
        decode_manifest({}, "m")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["SourceImage", "sourceImage", "FilterLines", "Other"]),
            st.sampled_from(
                ['"base"', '"$X/\\u00fc\\n"', '"\\u0000"', "null", "1", "[]", '{"SourceImage": "no"}', "NaN"]
            ),
        ),
        max_size=4,
    ),
    st.sampled_from(["", "# comment\n", "\ufeff", " \n// x\n"]),
    st.sampled_from(["", "\n", " more", "\n! comment"]),
)
def test_the_source_alone(fields: list[tuple[str, str]], before: str, after: str) -> None:
    """What is good enough for a build says the same to whoever asks for the source alone; what says none is refused."""
    pairs = ", ".join(f'"{name}": {value}' for name, value in fields)
    data = f"{before}{{{pairs}}}{after}".encode()
    try:
        expected = decode_manifest({"manifest": data}, "m").file.source_image
    except ConfigurationError:
        with contextlib.suppress(ConfigurationError):
            assert isinstance(decode_source_image(data, "m/manifest"), str)
    else:
        assert expected == decode_source_image(data, "m/manifest")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{}", r"m: line 1, column 1: \$: missing required field SourceImage"),
        (b'{"SourceImage": 1}', r"m: line 1, column 17: \$.SourceImage: expected a string, got a number"),
        (b'{"SourceImage": "\xff"}', "m: line 1: not UTF-8 at byte 17 of the file"),
        (b"[" * 100_000, "m: objects nested deeper than"),
        (b"[]", r"m: line 1, column 1: \$: expected an object, got an array"),
        (b"", "m: line 1, column 1: Expecting value"),
    ],
)
def test_no_source(data: bytes, sentence: str) -> None:
    """The sentence is a build's."""
    with pytest.raises(ConfigurationError, match=f"^{sentence}"):
        decode_source_image(data, "m")
