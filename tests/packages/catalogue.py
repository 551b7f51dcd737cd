"""Packages whose maintainer scripts do what a sandbox is likely to spoil."""

from __future__ import annotations

from typing import NamedTuple

from imaginator.build.environment import PATH


class Case(NamedTuple):
    """``packages`` for apt-get, what ``makes`` them awkward, and shell commands to run ``before`` and ``after``."""

    packages: str
    makes: str
    before: str = ""
    after: str = ""


ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C.UTF-8",
    "SOURCE_DATE_EPOCH": "1700000000",
}
"""The date makes what honours it (initramfs-tools, shadow, fontconfig) the same in each installation."""


def _answers(*selections: str) -> str:
    """A command that gives debconf the answers to questions."""
    return "\n".join(["debconf-set-selections <<END", *selections, "END"])


EVERY_KIND = """
mkdir /srv/kinds && cd /srv/kinds
mknod character c 1 3 && mknod -m 660 block b 7 9 && chown root:disk block
mkfifo -m 620 fifo && chown daemon:tty fifo
for mode in 4755 2755 6711 1777; do touch $mode && chown games:games $mode && chmod $mode $mode; done
mkdir sticky && chmod 3777 sticky && chown nobody:nogroup sticky
echo one > linked && ln linked linked-too && ln linked linked-three && chown 1234:65533 linked
ln -s nowhere dangling && chown -h games:mail dangling
touch able && setcap cap_net_raw,cap_net_bind_service+ep able
touch inheriting && setcap cap_sys_admin,cap_sys_time+ei inheriting
touch listed && setfacl -m u:games:rw,g:1000:r listed && mkdir passing && setfacl -d -m u:daemon:rwx passing
touch passing/on && touch told && setfattr -n user.colour -v blue told
truncate -s 1M sparse && install -o www-data -g shadow -m 2750 /bin/true copied
cp -a copied archived && cp -a able able-copied && cp -a character character-copied
tar --xattrs --xattrs-include='*' --acls -cf ../kinds.tar . && mkdir ../again
tar --xattrs --xattrs-include='*' --acls -C ../again -xpf ../kinds.tar
mv /srv/again /var/again && mv /bin/true /bin/true.moved && mv /var/mail /var/post
"""

CASES = (
    Case("iputils-ping", "setcap, or set-id where that fails"),
    Case("cron", "set-gid program, group made by the script"),
    Case("dbus", "set-id helper owned by a new group, statoverride, machine id"),
    Case("openssh-server", "user, host keys, debconf, ucf, alternatives"),
    Case("sudo", "set-id root, mode 0440 files"),
    Case("ca-certificates", "thousands of links, trigger"),
    Case("vim-tiny", "alternatives"),
    Case("man-db", "user, set-uid tree, database made as another user"),
    Case("acl attr libcap2-bin", "every kind of file, made by hand", after=EVERY_KIND),
    Case("busybox-static", "links over programs"),
    Case("postfix", "users, set-gid programs, chroot jail, fifos and sockets"),
    Case("mtr-tiny", "setcap"),
    Case(
        "wireshark-common",
        "setcap for a new group",
        before=_answers("wireshark-common wireshark-common/install-setuid boolean true"),
    ),
    Case("exim4-daemon-light", "user, generated configuration, set-id root"),
    Case("dma", "set-gid program, spool of a system group"),
    Case("passwd login", "set-id programs, shadow files, again"),
    Case("at", "user daemon, set-id, sticky spool"),
    Case("systemd systemd-sysv", "users by sysusers, tmpfiles, ACLs of the journal, diversion"),
    Case("udev", "hardware database, rules, group of devices"),
    Case("polkitd", "user, directories of mode 0700"),
    Case("rsyslog", "tmpfiles, dpkg-statoverride"),
    Case("logrotate", "systemd timer, ucf"),
    Case("nginx-light", "user's log directory, modules enabled by links"),
    Case("apache2", "modules and sites enabled by scripts"),
    Case("chrony", "user, keys"),
    Case("ntpsec", "user, AppArmor profile"),
    Case(
        "locales",
        "archive of locales",
        before=_answers("locales locales/locales_to_be_generated multiselect de_DE.UTF-8 UTF-8"),
    ),
    Case(
        "tzdata",
        "debconf, link of the time zone",
        before=_answers("tzdata tzdata/Areas select Europe"),
    ),
    Case("console-setup", "keyboard and fonts set up by scripts"),
    Case("python3", "byte code made by the script"),
    Case("python3-minimal bash-completion", "byte code, diversions"),
    Case("fontconfig fonts-dejavu-core", "cache made by a trigger"),
    Case("apparmor", "profiles, no kernel to load them into"),
    Case("unattended-upgrades", "ucf, debconf, Python"),
    Case("linux-image-cloud-amd64 initramfs-tools", "kernel hooks, initramfs, depmod"),
    Case("dmsetup lvm2", "device mapper, initramfs hooks"),
    Case("default-jre-headless", "alternatives by the dozen, certificates' key store, jar cache"),
    Case("mariadb-server", "database made as another user, AIO and io_uring probed"),
    Case("postgresql", "cluster made as another user, shared memory, ssl-cert group"),
    Case("redis-server", "user, mode 0640 configuration"),
    Case("samba", "registry and databases made by scripts"),
    Case("nfs-kernel-server", "statd user, module configuration"),
    Case("bind9", "user, rndc key, set-gid directories"),
    Case("docker.io", "group, containerd"),
    Case(
        "slapd",
        "database made and filled by the script",
        before=_answers("slapd slapd/password1 password x", "slapd slapd/password2 password x"),
    ),
    Case("screen tmux", "set-gid, tmpfiles"),
    Case("fuse3 ntfs-3g", "set-id root, a device node where there is none"),
    Case("emacs-nox", "byte compilation, alternatives, big"),
    Case("tex-common", "triggers without TeX"),
    Case("e2fsprogs util-linux-extra", "essential tools unpacked over themselves"),
    Case("qemu-utils kmod", "modprobe hooks"),
    Case(
        "libc6:i386",
        "32-bit programs, second linker",
        before="dpkg --add-architecture i386",
        after="/lib/ld-linux.so.2 --version",
    ),
)
"""Forty and more; the last changes what apt knows of, so it stays last."""

SHORT = tuple(CASES[:10])
"""Quick ones, for every run of the tests."""
