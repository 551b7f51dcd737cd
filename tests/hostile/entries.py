"""The entry points of texts that people write: how each is decoded, and a sample that has all of its fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from imaginator.model.manifest import decode_manifest
from imaginator.model.settings import decode_settings
from imaginator.model.streams import decode_streams
from imaginator.model.variables import parse_variables_file

_LIMITS = {"Memory": "1G", "Processes": 5, "Disk": "1G", "Inodes": 7, "CPUWeight": 50, "Duration": "1h"}
_OWNERS = {"Users": ["ann"], "Groups": ["eng"]}
_STREAM = {
    "ManifestUrl": "https://example.com/m.git", "ManifestDirectory": "web", "BuilderUsers": ["ann"],
    "BuilderGroups": ["eng"], "Variables": {"A": "b"}, "Network": False, "Limits": _LIMITS,
}  # fmt: skip
_PACKAGER = {
    "CleanCommand": ["c"], "CleanPatterns": ["/x"], "InstallCommand": ["i"], "RemoveCommand": ["r"],
    "ListCommand": {"ArgList": ["l"], "SizeMultiplier": 1024}, "UpdateCommand": ["u"], "UpgradeCommand": ["g"],
    "PackageCache": {"Directory": "/var/cache", "OfferIn": "partial", "Suffix": ".deb"}, "Verbatim": [":"],
}  # fmt: skip
_BOOTSTRAP = {
    "BootstrapCommand": ["x", "$dir"], "PackagerType": "deb", "FilterLines": ["/x"], "Owners": _OWNERS,
    "Limits": _LIMITS, "ImageFilterUrl": "/f", "ImageTagsUrl": "/t", "ImageTriggersUrl": "/g",
}  # fmt: skip
_MAIN = {
    "BootstrapStreams": {"base/$ARCH": _BOOTSTRAP}, "ImageStreamsToAutoRebuild": ["web"],
    "ImageStreamsUrl": "/streams.json", "ImageStreamsCheckInterval": 5, "PackagerTypes": {"deb": _PACKAGER},
    "BindMounts": ["/srv"], "BindMountsWritable": ["/srv/w"], "MtimesCopyFilterLines": ["/t"],
    "RelationshipsQuickLinks": [{"Name": "n", "URL": "u"}],
    "Cache": {"BaseDirectory": "/var/cache/builds", "MountPoint": "/cache", "SizeLimit": "5G"},
}  # fmt: skip
_MANIFEST = {
    "SourceImage": "base", "FilterLines": ["/x"], "MtimesCopyFilterLines": ["/t"],
    "MtimesCopyAddFilterLines": ["/u"], "SourceImageBuildVariables": {"A": "b"}, "SourceImageGitCommitId": "main",
    "SourceImageTagsToMatch": {"k": ["v"]}, "WithoutNetwork": ["scripts"],
}  # fmt: skip
_TRIGGER = {
    "MatchLines": ["/x"], "Service": "s", "SortName": "n", "DoReboot": True, "DoReload": True, "HighImpact": True,
}  # fmt: skip
_COMPUTED = {"Filename": "/etc/x", "Source": "host:1"}


class Entry(NamedTuple):
    """A file that people write: what decodes it, and a good one."""

    decode: Callable[[bytes], Any]
    sample: Any

    @property
    def text(self) -> bytes:
        """The sample's text."""
        return self.sample if isinstance(self.sample, bytes) else json.dumps(self.sample, indent=2).encode()


def _of_manifest(name: str) -> Callable[[bytes], Any]:
    good = {"manifest": b'{"SourceImage": "base"}'}
    return lambda data: decode_manifest({**good, name: data}, "f")


JSON = {
    "main": Entry(lambda data: decode_settings(data, "f", "amd64"), _MAIN),
    "streams": Entry(
        lambda data: decode_streams(data, "f", "amd64"), {"Streams": {"w": _STREAM}, "StreamPatterns": {"x.*": _STREAM}}
    ),
    "manifest": Entry(_of_manifest("manifest"), _MANIFEST),
    "triggers": Entry(_of_manifest("triggers"), [_TRIGGER]),
    "computed-files.json": Entry(_of_manifest("computed-files.json"), [_COMPUTED]),
    "owners.json": Entry(_of_manifest("owners.json"), _OWNERS),
    "tags.json": Entry(_of_manifest("tags.json"), {"k": "v"}),
}
LINES = {
    "variables": Entry(lambda data: parse_variables_file(data, "f"), b"NAME=value\n# comment\n"),
    "package-list": Entry(_of_manifest("package-list"), b"vim\n# comment\n"),
    "filter": Entry(_of_manifest("filter"), b"/x\n"),
    "computed-files": Entry(_of_manifest("computed-files"), b"/etc/x host:1\n"),
}
