"""The commands of a build: what they find, what they may leave, and what an image need not have."""

from __future__ import annotations

import msgspec
import pytest
import pytest_twisted

from imaginator.model.errors import BuildFailed
from imaginator.model.tree import Kind
from tests.support.house import PACKAGER, House, Record

SPEAKING = msgspec.structs.replace(
    PACKAGER,
    install_command=("sh", "-c", 'for name; do echo "install <$name>"; done', "install"),
    update_command=("echo", "this is update"),
    upgrade_command=("echo", "this is upgrade"),
)
"""A packager type that only says what it is asked for."""


@pytest_twisted.ensureDeferred
async def test_scripts_are_copied_to_one_place_and_run_from_the_root(house: House) -> None:
    """As /.scripts/NAME, 0755 without an x bit of their own, links followed, from /, with nothing on standard input."""
    await house.bootstrap(more="ln -s etc .scripts\n")
    show = "stat -c '%a %U %n' /.scripts/* > /etc/seen; pwd >> /etc/seen; echo $0 >> /etc/seen; cat >> /etc/seen\n"

    image = await house.build({"scripts/1": show, "shared": "exit 0\n"}, stream="test/one")
    link = house.directory / "manifests/test/two/scripts/2_link"
    link.parent.mkdir(parents=True)
    link.symlink_to("../shared")
    linked = await house.build(
        {"scripts/1": "ls /.scripts > /etc/seen\n", "shared": "echo $0 >> /etc/seen\n"}, stream="test/two"
    )

    assert b"755 root /.scripts/1\n/\n/.scripts/1\n" == house.content(image, b"/etc/seen")
    assert b"1\n2_link\n/.scripts/2_link\n" == house.content(linked, b"/etc/seen")
    assert {b"/.scripts", b"/etc/1"}.isdisjoint(house.tree(image))


@pytest_twisted.ensureDeferred
async def test_one_tree_from_the_first_step_to_the_last(house: House) -> None:
    """What a step leaves in /tmp, /run and /var/tmp the next ones find; the image has it but for what is below /tmp."""
    await house.bootstrap()
    places = "/tmp /run /var/tmp"

    image = await house.build(
        {
            "pre-install-scripts/1": f"for place in {places}; do mkdir -p $place; echo kept > $place/x; done\n",
            "scripts/1": f"for place in {places}; do cat $place/x || exit 1; done\n",
            "tests/still-there": f"#!/bin/sh\nfor place in {places}; do test -s $place/x || exit 1; done\n",
        }
    )

    assert {b"/tmp", b"/run/x", b"/var/tmp/x"} <= house.tree(image).keys()
    assert b"/tmp/x" not in house.tree(image)


@pytest_twisted.ensureDeferred
async def test_an_empty_package_list_asks_the_packager_for_nothing(house: House) -> None:
    """Neither update nor upgrade nor install; it cleans all the same."""
    house = house.with_packager(SPEAKING)
    await house.bootstrap()
    monitor = Record()

    image = await house.build({"package-list": "# nothing yet\n\n"}, monitor)

    assert [b"this is update", b"this is upgrade", b"install <"] == [
        word for word in (b"this is update", b"this is upgrade", b"install <") if word not in monitor.data
    ]
    assert b"/etc/cleaned" in house.tree(image)


@pytest_twisted.ensureDeferred
async def test_packages_are_installed_by_one_call(house: House) -> None:
    """After update and upgrade; a line is an argument, whatever it holds."""
    house = house.with_packager(SPEAKING)
    await house.bootstrap()
    monitor = Record()

    await house.build({"package-list": "ping\n  # more\n\n two words \n$HOME;*\n"}, monitor)

    said = [line for line in monitor.data.decode().splitlines() if line.startswith(("this is", "install", "$ "))]
    assert [
        "$ /bin/generic-packager update",
        "this is update",
        "$ /bin/generic-packager upgrade",
        "this is upgrade",
        "$ /bin/generic-packager install ping 'two words' '$HOME;*'",
        "install <ping>",
        "install <two words>",
        "install <$HOME;*>",
    ] == said[:8]


@pytest_twisted.ensureDeferred
async def test_the_resolver_configuration_is_the_builds_alone(house: House) -> None:
    """Written through the image's link before the files are copied, read by scripts, empty in the image."""
    link = "ln -s ../run/systemd/stub-resolv.conf etc/resolv.conf; "
    await house.bootstrap(more=f"{link} mkdir -p run/systemd; echo old > run/systemd/stub-resolv.conf\n")
    await house.bootstrap(more=link, stream="dangling")
    show = {"scripts/1": "cat /etc/resolv.conf > /etc/seen\n"}

    image = await house.build(show, stream="test/one")
    dangling = await house.build({**show, "manifest": '{"SourceImage": "dangling"}'}, stream="test/two")

    for built in (image, dangling):
        tree = house.tree(built)
        assert house.content(built, b"/etc/seen").startswith(b"nameserver 10.0.2.3\n")
        assert b"../run/systemd/stub-resolv.conf" == tree[b"/etc/resolv.conf"].target
        assert 0 == tree[b"/run/systemd/stub-resolv.conf"].size


@pytest_twisted.ensureDeferred
async def test_what_is_appended(house: House) -> None:
    """Files, through the image's links; links of the manifest are skipped with a line of the log."""
    await house.bootstrap(more="ln -s release etc/issue\n")
    for part in ("files.append", "post-install-files.append"):
        link = house.directory / "manifests/test/over" / part / "etc/link"
        link.parent.mkdir(parents=True)
        link.symlink_to("passwd")
    monitor = Record()

    image = await house.build(
        {"files.append/etc/issue": "more 2\n", "post-install-files.append/etc/issue": "last 3\n"}, monitor
    )

    assert b"small 1\nmore 2\nlast 3\n" == house.content(image, b"/etc/release")
    assert b"release" == house.tree(image)[b"/etc/issue"].target
    assert b"\nfiles.append: /etc/link is a symbolic link: skipped\n" in monitor.data
    assert b"\npost-install-files.append: /etc/link is a symbolic link: skipped\n" in monitor.data


@pytest_twisted.ensureDeferred
async def test_a_packager_that_cannot_tell_its_clean_patterns(house: House) -> None:
    """Its failure is a line of the log."""
    broken = '#!/bin/sh\ncase $1 in show-clean-patterns) echo no patterns here; exit 3;; run) shift; exec "$@";; esac\n'
    await house.bootstrap()
    monitor = Record()

    image = await house.build({"files/bin/generic-packager": broken}, monitor)

    assert b"no clean patterns: package show-clean-patterns: exit status 3\nno patterns here" in monitor.data
    assert () == image.packages


@pytest_twisted.ensureDeferred
async def test_clean_patterns_are_a_filter_that_spares_mounts(house: House) -> None:
    """Inverted, they say what stays; what is mounted, and what the image has beneath a mount, stays in any case."""
    patterns = ("!", "/(bin|etc)(/.*)?$", "/usr$", "/usr/share(/.*)?$")
    shared = house.directory / "shared"
    shared.mkdir()
    house = house.with_packager(msgspec.structs.replace(PACKAGER, clean_patterns=patterns))
    house = house._replace(settings=msgspec.structs.replace(house.settings, bind_mounts_writable=(str(shared),)))
    await house.bootstrap(more="mknod dev/console c 5 1; mkdir gone\n")
    script = f"! test -e /gone && ! test -e /dev/console && mkdir /gone && : > /etc/stays && : > {shared}/made\n"
    later = "#!/bin/sh\ntest -c /dev/null && ! test -e /gone\n"

    image = await house.build(
        {"scripts/1": script, "post-cleanup-scripts/1": later, "tests/1": later + "test -d /proc/self\n"}
    )

    tree = house.tree(image)
    assert (shared / "made").exists()
    assert Kind.CHARACTER == tree[b"/dev/console"].kind
    assert {b"/etc/stays", b"/usr/share/linked", b"/proc", b"/sys"} <= tree.keys()
    assert {b"/gone", b"/tmp"}.isdisjoint(tree)


@pytest_twisted.ensureDeferred
async def test_mount_points_are_made_and_removed_again(house: House) -> None:
    """An image without /proc, /sys and /dev has none after a build, whose commands had them."""
    await house.bootstrap(more="rmdir proc sys dev\n")
    there = "#!/bin/sh\ntest -d /proc/self && test -d /sys/kernel && echo out > /dev/stdout && echo err > /dev/stderr\n"
    monitor = Record()

    image = await house.build({"pre-install-scripts/1": there, "scripts/1": there, "tests/1": there}, monitor)

    assert 3 == monitor.data.count(b"out\nerr\n")
    assert {b"/proc", b"/sys", b"/dev"}.isdisjoint(house.tree(image))


ORIGINAL = """#! /bin/sh
export SAID=original
cmd="$1"; shift
case "$cmd" in
    clean) exec echo cleaned ;;
    copy-in) exec cat > "$1" ;;
    install) exec echo installing "$@" ;;
    list) exec cat /etc/release ;;
    remove) exec echo removing "$@" ;;
    run) exec "$@" ;;
    show-clean-patterns) echo '/var/cache/.*' ;;
    show-size-multiplier) ;;
    update) exec echo updating ;;
    upgrade) exec echo upgrading ;;
    *) echo "Invalid command: $cmd"; exit 2 ;;
esac
"""
"""A script that no bootstrap of ours wrote."""


@pytest_twisted.ensureDeferred
async def test_an_image_with_another_packager_script_can_be_built_upon(house: House) -> None:
    """No build over an image writes the script, and all that it is asked for is what the original's can do."""
    await house.bootstrap()
    await house.build({"files/bin/generic-packager": ORIGINAL}, stream="original")
    monitor = Record()

    image = await house.build(
        {
            "manifest": '{"SourceImage": "original"}',
            "package-list": "ping\n",
            "scripts/1": "mkdir -p /var/cache/x; echo $SAID > /etc/said\n",
        },
        monitor,
    )

    assert ORIGINAL.encode() == house.content(image, b"/bin/generic-packager")
    assert b"updating\n" in monitor.data
    assert b"installing ping\n" in monitor.data
    assert b"original\n" == house.content(image, b"/etc/said")
    assert ["small"] == [package.name for package in image.packages]
    assert b"/var/cache/x" not in house.tree(image)


@pytest_twisted.ensureDeferred
async def test_an_image_need_not_be_a_system(house: House) -> None:
    """A packager script and what it calls are enough to build upon; what comes of it may be data alone."""
    packager = '#!/busybox sh\ncase $1 in run) shift; exec "$@";; esac\n'
    await house.bootstrap(more="cp bin/busybox busybox\n")
    strip = "rm -rf /etc /usr /tmp /proc /sys\nmv /bin/generic-packager /\nrm -f /bin/*\nmv /generic-packager /bin/\n"
    appliance = await house.build(
        {
            "post-scripts-files/bin/generic-packager": packager,
            "post-cleanup-scripts/1": f"#!/busybox sh\nalias rm='/busybox rm' mv='/busybox mv'\n{strip}",
        },
        stream="appliance",
    )
    data = await house.build(
        {
            "manifest": '{"SourceImage": "appliance", "FilterLines": ["!", "/data(/.*)?$"]}',
            "files/data/given": "given",
            "package-list": "ping\n",
            "scripts/1": "#!/busybox sh\necho made > /data/made\n",
            "tests/1": '#!/busybox sh\ntest=$(/busybox cat /data/made) && /busybox test "$test" = made\n',
        }
    )

    assert {b"/", b"/bin", b"/bin/generic-packager", b"/dev", b"/busybox"} == house.tree(appliance).keys()
    assert {b"/", b"/data", b"/data/given", b"/data/made"} == house.tree(data).keys()


@pytest_twisted.ensureDeferred
async def test_tests_are_what_is_executable_below_the_directory(house: House) -> None:
    """Hidden ones too, the source image's too, at the same time; links and what is not executable are none."""
    await house.bootstrap(
        more="mkdir -p tests/.d; printf '#!/bin/sh\\ntest -e /etc/passwd' > tests/.d/.x; chmod 700 tests/.d/.x\n"
    )
    manifest = house.directory / "manifests/test/over/tests"
    manifest.mkdir(parents=True)
    (manifest / "link").symlink_to("/bin/false")
    monitor = Record()
    files = {
        "tests/none": "exit 1\n",
        "tests/calls": "#!/bin/sh\nuntil echo | busybox nc 127.0.0.1 4000; do sleep 0.05; done\n",
        "tests/.answers": "#!/bin/sh\nbusybox nc -l -p 4000; rm -rf /etc /tests; echo wrecked\n",
    }

    image = await house.build(files, monitor)
    with pytest.raises(BuildFailed, match=r"^test /tests/.d/.x: exit status 1$"):
        await house.build({**files, "scripts/1": "rm /etc/passwd\n"})

    assert b"run 3 tests\n" in monitor.data
    assert b"wrecked\n" in monitor.data
    assert b"/etc/passwd" in house.tree(image)


@pytest_twisted.ensureDeferred
async def test_tests_that_a_link_would_hide(house: House) -> None:
    """Links below /tests are not followed; where /tests itself is one, no test is passed over silently."""
    await house.bootstrap(more="mkdir usr/tests; ln -s usr/tests tests\n")

    await house.build({"files/etc/x": ""})
    with pytest.raises(BuildFailed, match="^/tests of the image is a link: "):
        await house.build({"tests/1": "#!/bin/sh\nexit 1\n"})


@pytest_twisted.ensureDeferred
async def test_a_bootstrap_is_tested_too(house: House) -> None:
    """One failure, and there is no image."""
    with pytest.raises(BuildFailed, match=r"^test /tests/x: exit status 1"):
        await house.bootstrap(more="mkdir tests; printf '#!/bin/sh\\nexit 1\\n' > tests/x; chmod 755 tests/x\n")

    assert [] == list(await house.store.list("small"))
